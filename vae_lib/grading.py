"""What the hidden tests of the exercises need."""

import inspect
import tracemalloc
from contextlib import contextmanager

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


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


def scattered(tensor):
    """The same values, but not side by side in memory, as after a transposition: `view` refuses many of them."""
    return tensor.mT.contiguous().mT if tensor.ndim > 1 else torch.stack([tensor, tensor], dim=-1)[..., 0]


FORMS = {  # in which the tensors of an exercise reach an answer
    "float32": lambda tensor: tensor.float() if tensor.is_floating_point() else tensor,
    "float64": lambda tensor: tensor.double() if tensor.is_floating_point() else tensor,
    "not contiguous": lambda tensor: scattered(FORMS["float32"](tensor)),
}


def in_form(form, arguments):
    """A copy of the arguments, with all tensors among them in one of FORMS."""
    return [FORMS[form](value.detach().clone()) if torch.is_tensor(value) else value for value in arguments]


def compare(answer, reference, *arguments, rtol=1e-4, atol=1e-5):
    """An answer returns what the reference returns in float64, for these arguments in each of FORMS, and leaves them as
    they are: tensors of any float type, floats, for which a tensor without dimensions will do, or a tuple of those.
    AssertionError otherwise, with a sentence that says for which arguments."""
    results = reference(*in_form("float64", arguments))
    several = isinstance(results, tuple)
    for form in FORMS:
        given, kept = in_form(form, arguments), in_form(form, arguments)
        case = f"for {', '.join(map(describe, given))} ({form})"
        yours = call(answer, given, case)
        if several:
            assert isinstance(yours, tuple | list) and len(yours) == len(results), f"return {len(results)} values"
        for k, (one, true) in enumerate(zip(yours, results) if several else [(yours, results)], start=1):
            compare_values(one, true, f"value {k} {case}" if several else case, rtol, atol)
        unchanged = (torch.equal(a, b) for a, b in zip(given, kept) if torch.is_tensor(a))
        assert all(unchanged), "your answer changes its arguments"


def call(answer, given, case):
    """What an answer returns. Its own error becomes an AssertionError that says for which arguments."""
    try:
        return answer(*given)
    except (AssertionError, NotImplementedError):
        raise
    except Exception as error:
        raise AssertionError(f"{case}: {type(error).__name__}: {error}") from error


def describe(argument):
    """A tensor by its shape and size, a number by its value, anything else by its kind."""
    if torch.is_tensor(argument) and argument.ndim:
        size = f" up to {argument.abs().max():.1g}" if argument.numel() and argument.is_floating_point() else ""
        return f"{tuple(argument.shape)}{size}"
    return (
        f"{argument:g}" if torch.is_tensor(argument) or isinstance(argument, int | float) else type(argument).__name__
    )


def compare_values(yours, true, case, rtol, atol):
    """One result against the reference's."""
    if torch.is_tensor(true):
        assert torch.is_tensor(yours), f"return a tensor, not {type(yours).__name__}"
        assert yours.shape == true.shape, f"wrong shape {case}: {tuple(yours.shape)}, not {tuple(true.shape)}"
        assert yours.is_floating_point() or not true.is_floating_point(), f"return floats, not {yours.dtype}"
    yours, true = (torch.as_tensor(value).detach().double() for value in (yours, true))
    assert yours.shape == true.shape, f"one number is asked for, not a tensor of shape {tuple(yours.shape)}"
    wrong = ~torch.isclose(yours, true, rtol=rtol, atol=atol, equal_nan=True)
    assert not wrong.any(), f"{case}: {yours[wrong][0]:.7g} where {true[wrong][0]:.7g} is right"


class Largest(TorchDispatchMode):
    """While it lasts, `bytes` is the size of the largest tensor that was made."""

    bytes = 0

    def __torch_dispatch__(self, function, types, args=(), options=None):
        made = function(*args, **(options or {}))
        sizes = (value.untyped_storage().nbytes() for value in tree_leaves(made) if torch.is_tensor(value))
        self.bytes = max(self.bytes, *sizes, 0)
        return made


def memory(function, *arguments):
    """Bytes of the largest tensor that a call makes, or of all else that it takes at once (NumPy's arrays), if that is
    more. For the exercises in which memory must not grow with the square of an input."""
    try:
        with Largest() as largest:
            torch.zeros(())  # the first use imports much
            tracemalloc.start()
            function(*arguments)
        return max(largest.bytes, tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()
