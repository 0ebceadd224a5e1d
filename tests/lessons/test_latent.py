"""Walks between codes: their ends, their norms, and the pairs for which an arc makes no sense."""

import pytest
import torch

from vae_lib import FCVAE, ConvVAE, interpolate, to_float
from vae_lib.checks import LabError
from vae_lib.latent import decoded_plane, interpolate_codes, interpolate_grid, interpolate_loop, lerp, slerp

T = torch.linspace(0, 1, 11)


@pytest.fixture(params=["fc", "conv"])
def model(request):
    torch.manual_seed(0)
    built = FCVAE((1, 8, 8), (16,), 6) if request.param == "fc" else ConvVAE((1, 8, 8), (4, 8), 6, batch_norm=True)
    return built.eval()


@pytest.fixture
def pair():
    torch.manual_seed(1)
    return torch.randn(6), 3 * torch.randn(6)


@pytest.mark.parametrize("kind", ["lerp", "slerp"])
def test_the_ends_are_the_reconstructions(model, tiny, kind):
    a, b = to_float(tiny.images[:2])
    path = interpolate(model, a, b, steps=7, kind=kind)
    assert path.shape == (7, 1, 8, 8) and path.min() >= 0 and path.max() <= 1
    torch.testing.assert_close(path[0], model.reconstruct(a[None])[0])
    torch.testing.assert_close(path[-1], model.reconstruct(b[None])[0])
    codes = interpolate_codes(model, a, b, 7, kind)
    for end, image in ((0, a), (-1, b)):
        assert torch.equal(codes[end], model.encode(image[None])[0][0])  # exactly


def test_images_uint8_and_codes_are_the_same_walk(model, tiny):
    a, b = tiny.images[:2]
    mu = [model.encode(to_float(image[None]))[0][0] for image in (a, b)]
    torch.testing.assert_close(interpolate(model, a, b), interpolate(model, *mu))
    torch.testing.assert_close(interpolate(model, a, b), interpolate(model, to_float(a), mu[1]))


def test_lerp_is_a_straight_line_at_constant_speed(pair):
    codes = lerp(*pair, T)
    torch.testing.assert_close(codes.diff(dim=0), ((pair[1] - pair[0]) / 10).expand(10, 6))


def test_slerp_keeps_the_interpolated_norm_and_turns_evenly(pair):
    a, b = pair
    codes = slerp(a, b, T)
    torch.testing.assert_close(codes.norm(dim=1), torch.lerp(a.norm(), b.norm(), T))
    unit = codes / codes.norm(dim=1, keepdim=True)
    turns = torch.arccos((unit[1:] * unit[:-1]).sum(dim=1))
    torch.testing.assert_close(turns, turns[:1].expand(10), atol=1e-4, rtol=0)
    plane = torch.linalg.matrix_rank(torch.stack([a, b, *codes]), rtol=1e-4)
    assert plane == 2


def test_slerp_of_a_quarter_turn():
    halfway = slerp(torch.tensor([2.0, 0.0]), torch.tensor([0.0, 2.0]), torch.tensor([0.5]))
    torch.testing.assert_close(halfway, torch.tensor([[2**0.5, 2**0.5]]))


def test_slerp_of_identical_parallel_and_zero_vectors_is_the_straight_line(pair):
    a, zero = pair[0], torch.zeros(6)
    for start, end in [(a, a), (a, a + 1e-9), (a, 3 * a), (zero, a), (a, zero), (zero, zero)]:
        codes = slerp(start, end, T)
        assert torch.isfinite(codes).all()
        torch.testing.assert_close(codes, lerp(start, end, T))


def test_slerp_between_nearly_parallel_vectors_is_smooth():
    a = torch.tensor([1.0, 0.0, 0.0])
    for tilt in (1e-2, 1e-3, 3e-4, 1e-5):
        codes = slerp(a, torch.tensor([1.0, tilt, 0.0]), T)
        torch.testing.assert_close(codes[:, 1], tilt * T, atol=tilt * 0.02, rtol=0)


@pytest.mark.parametrize("degrees", [120, 170, 179])
def test_slerp_through_a_wide_angle_keeps_the_norm(degrees):
    angle = torch.tensor(degrees).deg2rad()
    codes = slerp(torch.tensor([1.0, 0.0]), 2 * torch.stack([angle.cos(), angle.sin()]), T)
    torch.testing.assert_close(codes.norm(dim=1), 1 + T, atol=1e-4, rtol=0)
    torch.testing.assert_close(torch.atan2(codes[:, 1], codes[:, 0]), T * angle, atol=1e-4, rtol=0)


def test_slerp_of_many_identical_and_opposite_vectors():
    for seed in range(100):
        torch.manual_seed(seed)
        a = torch.randn(128)
        torch.testing.assert_close(slerp(a, a, T), a.expand(11, 128))
        with pytest.raises(LabError, match="opposite directions"):
            slerp(a, -2 * a, T)


def test_walks_leave_no_trace(model, tiny):
    """No gradients are recorded, and the statistics of batch normalisation do not move."""
    model.train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    walks = [
        interpolate(model, *tiny.images[:2]),
        interpolate_grid(model, tiny.images[:4]),
    ]
    assert not any(walk.requires_grad for walk in walks)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_slerp_between_opposite_vectors_is_one_sentence(model, pair):
    with pytest.raises(LabError, match="opposite directions.*use lerp"):
        interpolate(model, pair[0], -2 * pair[0], kind="slerp")
    assert torch.isfinite(interpolate(model, pair[0], -2 * pair[0], kind="lerp")).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "cubic"}, "choose one of lerp, slerp"),
        ({"steps": 1}, "steps=1: give a whole number of at least 2"),
        ({"a": torch.zeros(5)}, r"image of shape \(1, 8, 8\) or a code of shape \(6,\), not \(5,\)"),
        ({"b": torch.zeros(3, 8, 8)}, r"not \(3, 8, 8\)"),
    ],
)
def test_bad_arguments(model, changes, message):
    with pytest.raises(LabError, match=message):
        interpolate(model, **{"a": torch.zeros(6), "b": torch.ones(6), **changes})


def test_grid_has_its_corners_and_edges(model):
    torch.manual_seed(2)
    corners = list(torch.randn(4, 6))
    grid = interpolate_grid(model, corners, steps=4).view(4, 4, 1, 8, 8)
    for image, corner in zip((grid[0, 0], grid[0, -1], grid[-1, 0], grid[-1, -1]), corners):
        torch.testing.assert_close(image, model.decode(corner[None])[0])
    torch.testing.assert_close(grid[0], interpolate(model, corners[0], corners[1], 4))
    torch.testing.assert_close(grid[:, -1], interpolate(model, corners[1], corners[3], 4))


def test_a_plane_has_four_corners(model):
    with pytest.raises(LabError, match="4 corners, not 3"):
        interpolate_grid(model, torch.randn(3, 6))


def test_loop_passes_each_station_once(model):
    torch.manual_seed(3)
    stations = list(torch.randn(3, 6))
    frames = interpolate_loop(model, stations, steps=5)
    assert len(frames) == 15
    for k, station in enumerate(stations):
        torch.testing.assert_close(frames[5 * k], model.decode(station[None])[0])
    torch.testing.assert_close(frames[10:], interpolate(model, stations[2], stations[0], 6, "slerp")[:-1])


def test_a_plane_needs_two_dimensions_and_changes_nothing(model):
    with pytest.raises(LabError, match="2 latent dimensions, and this one has 6"):
        decoded_plane(model)
    flat = ConvVAE((1, 8, 8), (4, 8), 2, batch_norm=True).train()
    before = {name: value.clone() for name, value in flat.state_dict().items()}
    decoded_plane(flat)
    assert all(torch.equal(value, before[name]) for name, value in flat.state_dict().items())
