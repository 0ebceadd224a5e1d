"""Layers in another form: the same numbers, and torch's own layers for whoever looks."""

import copy

import pytest
import torch
from torch import nn

from vae_lib import FCVAE, ConvVAE, TrainConfig, fit, load_pretrained, reparameterize, settings
from vae_lib.engine.device import model_on_device
from vae_lib.engine.layers import AddBiasLast, NormaliseAny, ToImage, faster


class Spy(nn.Module):
    """Notes the class of a layer while it computes."""

    def __init__(self, layer):
        super().__init__()
        self.layer, self.seen = layer, None

    def forward(self, x):
        self.seen = type(self.layer)
        return self.layer(x)


class Decoder(nn.Module):
    """As somebody else writes one: arguments have names."""

    def __init__(self):
        super().__init__()
        self.linear, self.same, self.normed = nn.Linear(3, 16), nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.up, self.last = nn.ConvTranspose2d(4, 4, 4, 2, 1), nn.ConvTranspose2d(4, 1, 4, 2, 1)

    def forward(self, z):
        h = self.normed(input=self.same(input=self.linear(z).view(-1, 4, 2, 2)))
        return self.last(input=self.up(h, output_size=(4, 4)), output_size=[8, 8])


class Own(FCVAE):
    def forward(self, x, generator=None):
        mu, logvar = self.encode(x=x)
        return self.decode(z=reparameterize(mu, logvar, generator)), mu, logvar


def doubled(n_out, **options):
    return nn.ConvTranspose2d(8, n_out, 4, **{"stride": 2, "padding": 1, **options}).double()


@pytest.mark.parametrize(("n_out", "form"), [(1, ToImage), (3, ToImage), (8, AddBiasLast)])
def test_transposed_convolutions_equal_pytorchs(n_out, form):
    torch.manual_seed(0)
    plain = doubled(n_out)
    fast = faster(nn.Sequential(Spy(copy.deepcopy(plain))))
    x, target = (torch.randn(shape, dtype=torch.float64) for shape in ((5, 8, 6, 7), (5, n_out, 12, 14)))
    for model in (plain, fast):
        (model(x) - target).square().sum().backward()
    torch.testing.assert_close(fast(x), plain(x))
    assert fast[0].seen is form and type(fast[0].layer) is nn.ConvTranspose2d
    torch.testing.assert_close(fast[0].layer.weight.grad, plain.weight.grad)
    torch.testing.assert_close(fast[0].layer.bias.grad, plain.bias.grad)


OTHERS = [nn.ConvTranspose2d(8, 3, 3), nn.Conv2d(8, 3, 4, stride=2, padding=1), nn.BatchNorm1d(8)]
OTHERS += [doubled(3, bias=False), doubled(4, padding=0), doubled(4, dilation=2), doubled(4, output_padding=1)]


@pytest.mark.parametrize("layer", OTHERS, ids=str)
def test_other_layers_are_left_alone(layer):
    model = faster(nn.Sequential(nn.Sequential(layer)))
    assert not model[0]._forward_pre_hooks and not model[0]._forward_hooks


def test_batch_normalisation_is_torchs_but_for_a_single_value_per_channel():
    plain = nn.BatchNorm2d(3)
    fast = faster(nn.Sequential(Spy(copy.deepcopy(plain))))
    x = torch.randn(4, 3, 5, 5)
    torch.testing.assert_close(fast(x), plain(x))
    torch.testing.assert_close(fast[0].layer.running_var, plain.running_var)
    with pytest.raises(ValueError, match="more than 1 value"):
        plain(torch.ones(1, 3, 1, 1))
    torch.testing.assert_close(fast(torch.ones(1, 3, 1, 1)), plain.eval()(torch.ones(1, 3, 1, 1)))
    assert fast[0].seen is NormaliseAny and type(fast[0].layer) is nn.BatchNorm2d


def small():
    torch.manual_seed(0)
    return ConvVAE((1, 8, 8), channels=(4, 8), latent_dim=3, batch_norm=True)


def test_whoever_prints_a_model_reads_torchs_layers(tiny, monkeypatch):
    """Also after a training, in shipped models, and after an error."""
    monkeypatch.setattr(settings, "PRETRAINED_DIR", settings.REPOSITORY / "data" / "pretrained")
    model = small()
    before = str(model)
    fit(model, tiny, tiny, TrainConfig(epochs=1), progress=False)
    with pytest.raises(RuntimeError):
        model.decode(torch.zeros(2, 7))
    assert str(model) == before
    for trained in (model, load_pretrained("celeba64-conv")[0]):
        assert all(type(layer).__module__.startswith("torch.nn") for layer in list(trained.modules())[1:])


@pytest.mark.parametrize("stop", [KeyboardInterrupt, ValueError])
def test_what_stops_a_forward_leaves_torchs_layers_and_float32(tiny, stop):
    """torch calls no hook after Ctrl-C."""
    model = small()

    def raises(*_):
        assert any(type(layer) in (AddBiasLast, ToImage) for layer in model.modules())
        raise stop

    handle = model.decoder[3].register_forward_pre_hook(raises)
    with pytest.raises(stop):
        fit(model, tiny, None, TrainConfig(epochs=1, precision="bfloat16"), progress=False)
    handle.remove()
    assert all(type(layer).__module__.startswith("torch.nn") for layer in list(model.modules())[1:])
    assert not {"encode", "decode"} & vars(model).keys()


@pytest.mark.parametrize("change", [nn.utils.parametrizations.spectral_norm, nn.utils.parametrizations.weight_norm])
def test_a_layer_that_somebody_changed_is_left_alone(change):
    model = faster(small())
    before = model.decode(torch.zeros(1, 3))
    change(model.decoder[-1])
    assert model.decode(torch.zeros(1, 3)).shape == before.shape


def test_a_copy_in_the_middle_of_a_training_computes_with_its_own_weights():
    model, x = small(), torch.rand(2, 1, 8, 8)
    with model_on_device(model, "bfloat16"):
        twin = copy.deepcopy(model)
        for parameter in twin.decoder.parameters():
            parameter.data.zero_()
        assert (twin.reconstruct(x) == 0.5).all()
    assert (twin.reconstruct(x) == 0.5).all() and (model.reconstruct(x) != 0.5).any()


def test_a_copy_computes_with_its_own_weights():
    model = faster(faster(small())).eval()
    assert len(model.decoder._forward_pre_hooks) == len(model.decoder._forward_hooks) == 1  # twice is once
    again = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in again.parameters():
            parameter.zero_()
        z = torch.randn(2, 3)
        assert (again.decode(z) == 0.5).all() and (model.decode(z) != 0.5).any()
    assert {type(layer) for layer in again.modules()} == {type(layer) for layer in model.modules()}


def test_bfloat16_is_only_inside_and_leaves_the_model_as_it_was():
    model = ConvVAE((1, 8, 8), channels=(4, 8), latent_dim=3)
    x = torch.rand(2, 1, 8, 8)
    with model_on_device(model):
        plain = model.reconstruct(x)
    own = model.decode
    model.decode = lambda z: own(z) / 2  # somebody's own, on this object alone
    changed = vars(model)["decode"]
    with model_on_device(model, "bfloat16"):
        inside = model.reconstruct(x)
    assert vars(model)["decode"] is changed and "encode" not in vars(model)
    del model.decode
    assert torch.equal(model.reconstruct(x), plain)
    assert not torch.equal(2 * inside, plain) and (2 * inside - plain).abs().max() < 0.02


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_layers_and_methods_take_their_arguments_by_name(tiny, precision):
    torch.manual_seed(0)
    model, z = Own((1, 8, 8), (16,), latent_dim=3), torch.randn(5, 3)
    model.decoder = Decoder()
    config = TrainConfig(batch_size=16, epochs=2, precision=precision)
    history = fit(model, tiny, None, config, progress=False)["history"]
    assert history[1]["train_loss"] < history[0]["train_loss"]
    plain = copy.deepcopy(model.decoder)
    for hooks in (plain._forward_pre_hooks, plain._forward_hooks):
        hooks.clear()
    torch.testing.assert_close(model.decoder(z), plain(z))
