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


def compare(answer, reference, *arguments, rtol=1e-4, atol=1e-5, slopes=False):
    """An answer returns what the reference returns in float64, for these arguments in each of FORMS, and leaves them as
    they are: tensors of any float type, floats, for which a tensor without dimensions will do, or several of those.
    With `slopes`, the gradients of the sum of its results are the reference's, too, for each tensor on which those
    depend. AssertionError otherwise, with a sentence that says for which arguments."""
    results, true_slopes = results_and_slopes(reference, in_form("float64", arguments), slopes)
    several = isinstance(results, tuple)
    for form in FORMS:
        given, kept = in_form(form, arguments), in_form(form, arguments)
        case = f"for {', '.join(map(describe, given))} ({form})"
        try:
            yours, your_slopes = results_and_slopes(answer, given, slopes)
            yours = [*yours] if several else [yours]
        except (AssertionError, NotImplementedError):
            raise
        except Exception as error:
            raise AssertionError(f"{case}: {type(error).__name__}: {error}") from error
        assert not several or len(yours) == len(results), f"return {len(results)} values"
        for k, (one, true) in enumerate(zip(yours, results if several else [results]), start=1):
            compare_values(one, true, f"value {k} {case}" if several else case, rtol, atol)
        for tensor, one, true in zip(filter(torch.is_tensor, given), your_slopes, true_slopes):
            if true is not None:
                one = torch.zeros_like(tensor) if one is None else one
                compare_values(one, true, f"the gradient, {case}", rtol, atol)
        unchanged = (torch.equal(a, b) for a, b in zip(given, kept) if torch.is_tensor(a))
        assert all(unchanged), "your answer changes its arguments"


def results_and_slopes(function, arguments, slopes):
    """What a function returns, and the gradients of the sum of its results by each tensor among the arguments, None
    where there is none."""
    tensors = [value.requires_grad_(slopes) for value in arguments if torch.is_tensor(value)]
    results = function(*arguments)
    values = results if isinstance(results, tuple | list) else [results]
    total = sum(value.sum() for value in values) if slopes else torch.zeros(())
    by_each = torch.autograd.grad(total, tensors, allow_unused=True) if total.requires_grad else [None] * len(tensors)
    return results, by_each


def describe(argument):
    """A tensor by its shape and size, a number by its value, anything else by its kind."""
    if torch.is_tensor(argument) and argument.ndim:
        size = f" up to {argument.abs().max():.1g}" if argument.numel() and argument.is_floating_point() else ""
        return f"{tuple(argument.shape)}{size}"
    is_number = isinstance(argument, torch.Tensor | int | float)
    return f"{argument:g}" if is_number else type(argument).__name__


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


def check_noise(noise):
    """Noise (calls, ...) consists of independent standard normal numbers, as far as its moments tell, and sums and
    correlations of the slices along each dimension and of the numbers of a call: at six standard errors or more.
    AssertionError otherwise, with a sentence."""
    noise = noise.double()
    far = (noise.abs() > 3).double()
    moments = {"mean": (noise, 0, 1), "mean square": (noise**2, 1, 2), "mean 4th power": (noise**4, 3, 96)}
    moments |= {"mean 6th power": (noise**6, 15, 10_170), "share beyond 3": (far, 0.0027, 0.0027)}
    for name, (values, true, variance) in moments.items():
        yours, error = values.mean(), (variance / noise.numel()) ** 0.5
        assert abs(yours - true) < 6 * error, f"not standard normal noise: its {name} is {yours:.4f}, not {true}"
    assert noise.numel() < 200_000 or noise.abs().max() > 4, "not standard normal noise: nothing lies far out"
    for slices in (noise.flatten(1).T, *(noise.transpose(0, axis).flatten(1) for axis in range(noise.ndim))):
        check_independence(slices, "noise", 8)
        check_independence((slices**2 - 1) / 2**0.5, "the size of noise", 12)  # which has long tails


def check_independence(slices, what, errors):
    """Numbers (L, M) of mean 0 and variance 1 are independent of each other, at so many standard errors."""
    for dim, count in enumerate(slices.shape):
        sums = slices.sum(dim=dim).square() / count  # near 0 where the noise is centred or antithetic
        error = ((2 + 12 / count) / len(sums)) ** 0.5
        assert len(sums) < 30 or abs(sums.mean() - 1) < errors * error, f"{what} of some draws depends on others"
    for lag in {1, len(slices) // 2} - {0, len(slices)}:
        product = (slices[lag:] * slices[:-lag]).mean()
        assert abs(product) < errors / slices.numel() ** 0.5, f"draws share {what} with earlier ones"
    if 1 < len(slices) <= slices.shape[1]:
        pairs = slices.corrcoef().fill_diagonal_(0).abs()
        assert pairs.max() < errors / slices.shape[1] ** 0.5, f"two dimensions, rows or calls share {what}"


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
