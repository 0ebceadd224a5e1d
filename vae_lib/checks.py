"""The one exception of the lab, and the names that a misspelt one may have meant."""

import re
from difflib import get_close_matches

LONGEST = 800  # characters of a message: what it quotes may be of any length


class LabError(ValueError):
    """Bad input, told in one sentence: what was wrong, where, what to do next."""

    def __init__(self, message=""):
        line = re.sub(r"\s*[\n\r\t]+\s*", " ", message.strip())
        line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)
        if len(line) > LONGEST:
            line = f"{line[: LONGEST // 2]} ... {line[-LONGEST // 2 + 5 :]}"
        super().__init__(line)

    def _render_traceback_(self):
        """Jupyter calls this: students see the sentence instead of a page of traceback."""
        return [f"{type(self).__name__}: {self}"]


def near_names(name, known):
    """The known names nearest to a misspelt one (capitals ignored), or else the first five, for a sentence."""
    by_lower = {other.lower(): other for other in known}
    near = [by_lower[match] for match in get_close_matches(str(name).lower(), by_lower)]
    return ", ".join(near or list(known)[:5]) or "none"
