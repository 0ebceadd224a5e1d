"""Right and wrong answers to every exercise, as a class of students would hand them in: the autograder's own test.

A module a notebook. ANSWERS: {exercise: (the beginning of the answer, {style: body that is right}, {mistake: body that
is wrong}, {mistake: part of what the visible check says of it})}, and here {notebook: its ANSWERS}.
"""

from importlib import import_module

from vae_lib import settings

STEMS = sorted(path.stem for path in (settings.REPOSITORY / "notebooks").glob("*.ipynb"))
ANSWERS = {stem: import_module(f"answers.lesson_{stem[:2]}").ANSWERS for stem in STEMS}
