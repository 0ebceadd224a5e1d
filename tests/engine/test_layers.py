"""Layers that are computed in another way: the same numbers, and still torch's own layers."""

import copy

import pytest
import torch
from torch import nn

from vae_lib import ConvVAE, TrainConfig, fit, load_pretrained, settings
from vae_lib.engine.device import model_on_device
from vae_lib.engine.layers import faster


@pytest.mark.parametrize("n_out", [1, 3, 8])
def test_transposed_convolutions_equal_pytorchs(n_out):
    torch.manual_seed(0)
    plain = nn.ConvTranspose2d(8, n_out, 4, stride=2, padding=1).double()
    fast = faster(copy.deepcopy(plain))
    assert "forward" in vars(fast) and "forward" not in vars(plain)
    x = torch.randn(5, 8, 6, 7, dtype=torch.float64)
    target = torch.randn(5, n_out, 12, 14, dtype=torch.float64)
    for layer in (plain, fast):
        (layer(x) - target).square().sum().backward()
    torch.testing.assert_close(fast(x), plain(x))
    torch.testing.assert_close(fast.weight.grad, plain.weight.grad)
    torch.testing.assert_close(fast.bias.grad, plain.bias.grad)


def test_other_layers_are_left_alone():
    layers = [nn.ConvTranspose2d(8, 3, 3), nn.ConvTranspose2d(8, 3, 4, stride=2), nn.Conv2d(3, 3, 4), nn.BatchNorm1d(3)]
    assert not any("forward" in vars(faster(layer)) for layer in layers)


def test_batch_normalisation_is_torchs_but_for_a_single_value_per_channel():
    plain = nn.BatchNorm2d(3)
    fast = faster(copy.deepcopy(plain))
    x = torch.randn(4, 3, 5, 5)
    torch.testing.assert_close(fast(x), plain(x))
    torch.testing.assert_close(fast.running_var, plain.running_var)
    with pytest.raises(ValueError, match="more than 1 value"):
        plain(torch.ones(1, 3, 1, 1))
    torch.testing.assert_close(fast(torch.ones(1, 3, 1, 1)), plain.eval()(torch.ones(1, 3, 1, 1)))


def test_whoever_prints_a_model_reads_torchs_layers(tiny, monkeypatch):
    """Also after a training, and in shipped models; a copy computes with its own weights."""
    monkeypatch.setattr(settings, "PRETRAINED_DIR", settings.REPOSITORY / "data" / "pretrained")
    model = ConvVAE((1, 8, 8), channels=(4, 8), latent_dim=3, batch_norm=True)
    before = str(model)
    fit(model, tiny, tiny, TrainConfig(epochs=1), progress=False)
    assert str(model) == before
    for trained in (model, load_pretrained("celeba64-conv")[0]):
        assert all(type(layer).__module__.startswith("torch.nn") for layer in list(trained.modules())[1:])
    again = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in again.parameters():
            parameter.zero_()
        assert (again.decode(torch.randn(2, 3)) == 0.5).all() and (model.decode(torch.randn(2, 3)) != 0.5).any()


def test_bfloat16_is_only_inside_and_leaves_the_model_as_it_was():
    model = ConvVAE((1, 8, 8), channels=(4, 8), latent_dim=3)
    x = torch.rand(2, 1, 8, 8)
    plain, own = model.reconstruct(x), model.decode
    model.decode = lambda z: own(z) / 2  # somebody's own, on this object alone
    changed = vars(model)["decode"]
    with model_on_device(model, "bfloat16"):
        inside = model.reconstruct(x)
    assert vars(model)["decode"] is changed and "encode" not in vars(model)
    del model.decode
    assert torch.equal(model.reconstruct(x), plain)
    assert not torch.equal(2 * inside, plain) and (2 * inside - plain).abs().max() < 0.02
