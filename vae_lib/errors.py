"""The one exception of the lab."""


class LabError(ValueError):
    """Bad input, told in one sentence: what was wrong, where, what to do next."""

    def _render_traceback_(self):
        """Jupyter calls this: students see the sentence instead of a page of traceback."""
        return [f"{type(self).__name__}: {self}"]
