"""What the hidden tests of the exercises need."""

import inspect
from contextlib import contextmanager


def refuse(*args, **options):
    raise AssertionError("the exercise asks for your own code, and this answer calls vae_lib's")


@contextmanager
def without(*functions):
    """While it lasts, these functions of the library refuse to work, by whatever name they are called. An answer to an
    exercise that only calls the library then fails."""
    codes = {function: function.__code__ for function in map(inspect.unwrap, functions)}
    try:
        for function in codes:
            function.__code__ = refuse.__code__
        yield
    finally:
        for function, code in codes.items():
            function.__code__ = code


def raises(error, function, *args):
    """Whether the function, called with these arguments, raises the error."""
    try:
        function(*args)
    except error:
        return True
    return False
