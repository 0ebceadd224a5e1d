"""The exercises and their tests: right answers in any style keep the points, wrong ones lose them."""

from copy import deepcopy

import nbformat
import numpy as np
import pytest
import torch
from answers import ANSWERS
from sklearn.linear_model import LogisticRegression

from report import ANSWERS as ANSWERS_TABLE
from vae_lib import kl_divergence, settings
from vae_lib.grading import check_noise, compare, raises, without

NOTEBOOKS = {path.stem: nbformat.read(path, 4) for path in sorted((settings.REPOSITORY / "notebooks").glob("*.ipynb"))}
EXERCISES = [(stem, name) for stem in ANSWERS for name in ANSWERS[stem]]
outcomes = {}  # {(notebook, exercise): {(answer, is it right?): does it keep the points?}}


def graded(stem):
    """{grade_id: cell} of a notebook."""
    return {cell.metadata.nbgrader.grade_id: cell for cell in NOTEBOOKS[stem].cells if "nbgrader" in cell.metadata}


@pytest.fixture(scope="module", params=ANSWERS)
def lesson(request):
    """A notebook's name, and what its set-up cells define: all that exists when a submission is graded."""
    names = {"__name__": "__main__"}
    for cell in NOTEBOOKS[request.param].cells:
        if "setup" in cell.metadata.get("tags", []):
            exec(cell.source, names)
    return request.param, names


@pytest.fixture(scope="module", autouse=True)
def fitted_once():
    """scikit-learn fits the same codes for sixty answers: what it has found once is remembered."""
    fit, known = LogisticRegression.fit, {}

    def fit_or_remember(self, *given, **options):
        if options:
            return fit(self, *given, **options)
        key = (repr(self), *((a.dtype, a.shape, a.tobytes()) for a in map(np.asarray, given)))
        if key not in known:
            known[key] = deepcopy(vars(fit(self, *given)))
        vars(self).update(deepcopy(known[key]))
        return self

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LogisticRegression, "fit", fit_or_remember)
        yield


def keeps_points(stem, name, answer, names):
    """Whether an answer passes the tests of its exercise."""
    names = dict(names)
    try:
        exec(answer, names)
        exec(graded(stem)[name].source, names)
    except Exception:
        return False
    return True


@pytest.fixture(scope="module", autouse=True)
def table():
    """After the tests, a table of what the autograder made of all answers, which conftest.py shows."""
    yield
    lines = ["| exercise | right answers | points kept | wrong answers | points lost |", "|---|---|---|---|---|"]
    for (stem, name), kept in outcomes.items():
        right = [result for (_, is_right), result in kept.items() if is_right]
        wrong = [not result for (_, is_right), result in kept.items() if not is_right]
        lines.append(f"| {stem} {name} | {len(right)} | {sum(right)} | {len(wrong)} | {sum(wrong)} |")
    ANSWERS_TABLE.parent.mkdir(exist_ok=True)
    ANSWERS_TABLE.write_text("\n".join(lines) + "\n")


def test_every_exercise_has_answers_to_try():
    found = {(stem, name) for stem in NOTEBOOKS for name, cell in graded(stem).items() if cell.metadata.nbgrader.grade}
    assert {pair for pair in found if not pair[1].startswith("question_")} == set(EXERCISES)
    for stem, name in EXERCISES:
        _, right, wrong, hints = ANSWERS[stem][name]
        assert len(right) >= 3 and len(wrong) >= 6 and len(hints) >= 3 and hints.keys() <= wrong.keys(), name


def test_answers_keep_or_lose_their_points(lesson):
    stem, names = lesson
    wrongly = []
    for name, (head, right, wrong, _) in ANSWERS[stem].items():
        kept = {("ours", True): keeps_points(stem, name, graded(stem)[f"{name}_answer"].source, names)}
        for answers, is_right in ((right, True), (wrong, False)):
            kept |= {(what, is_right): keeps_points(stem, name, head + body, names) for what, body in answers.items()}
        outcomes[stem, name] = kept
        wrongly += [f"{name}: {what}" for (what, is_right), result in kept.items() if result != is_right]
    assert not wrongly


def visible_checks(stem, name, answer, names):
    """What the cells of checks that a student sees say to an answer: the message of the first that fails, or None."""
    names = dict(names)
    exec(answer, names)
    for grade_id, cell in graded(stem).items():
        if grade_id.startswith(f"{name}_check"):
            try:
                exec(cell.source, names)
            except Exception as error:
                return f"{type(error).__name__}: {error}"
    return None


def test_classic_mistakes_are_told_by_the_visible_checks(lesson):
    stem, names = lesson
    found = []
    for name, (head, right, wrong, hints) in ANSWERS[stem].items():
        for style, body in right.items():
            if said := visible_checks(stem, name, head + body, names):
                found.append(f"{name}, right answer {style!r}: {said}")
        for mistake, hint in hints.items():
            said = visible_checks(stem, name, head + wrong[mistake], names)
            if said is None or hint not in said:
                found.append(f"{name}, {mistake!r}: {hint!r} is not in {said!r}")
    assert not found, "\n".join(found)


def test_hidden_tests_leave_nothing_behind(lesson, capsys):
    """No output, no name, no random number drawn: the lesson goes on as it does without them."""
    stem, names = lesson
    for name in ANSWERS[stem]:
        cells, mine = graded(stem), dict(names)
        exec(cells[f"{name}_answer"].source, mine)
        before, state = set(mine), torch.get_rng_state()
        exec(cells[name].source, mine)
        assert {new for new in set(mine) - before if not new.startswith("test_")} == set()
        assert torch.equal(torch.get_rng_state(), state), name
    assert capsys.readouterr() == ("", "")


def test_the_wrong_answers_are_code():
    """A wrong answer that loses its points for a slip of ours in typing shows nothing."""
    for stem, name in EXERCISES:
        head, right, wrong, _ = ANSWERS[stem][name]
        for body in (*right.values(), *wrong.values()):
            compile(head + body, name, "exec")


def test_without_disables_a_function_under_every_name():
    mu = torch.ones(2, 3)
    alias = kl_divergence
    with pytest.raises(AssertionError, match="asks for your own code"), without(kl_divergence):
        alias(mu, mu)
    assert alias(mu, 0 * mu).tolist() == [1.5, 1.5]


def test_raises_asks_for_one_kind_of_error():
    assert raises(ValueError, int, "x") and not raises(ValueError, int, "1")
    with pytest.raises(TypeError):
        raises(ValueError, int, [])


def test_compare_asks_for_the_gradients_on_which_the_reference_depends():
    def square(x, y):
        return (x**2 + y.detach()).sum()

    given = torch.ones(2), torch.ones(2)
    compare(square, square, *given, slopes=True)
    compare(lambda x, y: (x**2 + y).sum(), square, *given, slopes=True)  # more than the reference asks for
    cut = lambda x, y: (x.detach() ** 2 + y).sum()  # noqa: E731
    compare(cut, square, *given)
    with pytest.raises(AssertionError, match=r"the gradient, for \(2,\) .*: 0 where 2 is right"):
        compare(cut, square, *given, slopes=True)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda noise: noise, None),
        (lambda noise: noise + 0.06, "its mean is"),
        (lambda noise: noise.clamp(-3, 3), "share beyond 3 is 0.0000"),
        (lambda noise: noise.sign() * noise.abs().sqrt() * 1.12, "4th power"),
        (lambda noise: torch.cat([noise[:500], -noise[:500]]), "earlier|other"),
        (lambda noise: noise - noise.mean(dim=(1, 2), keepdim=True), "depends on others"),
        (lambda noise: noise[:, :1].expand_as(noise), "share noise|earlier|other"),
        (lambda noise: noise * noise.flatten(1)[:, :1, None].sign(), "mean|share"),
        (
            lambda noise: torch.cat([noise[..., :1], noise[..., :1].abs() * noise[..., 1:].sign()], 2),
            "the size of noise",
        ),
    ],
)
def test_check_noise_sees_what_is_not_normal_or_not_independent(spoil, message):
    noise = spoil(torch.randn(1000, 5, 4, generator=torch.Generator().manual_seed(0)))
    if message is None:
        return check_noise(noise)
    with pytest.raises(AssertionError, match=message):
        check_noise(noise)
