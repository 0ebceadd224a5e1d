"""Shapes, gradients and the meaning of encode, decode, sample and reconstruct."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from vae_lib import FCVAE, Autoencoder, ConvVAE, elbo_loss, reparameterize
from vae_lib.checks import LabError
from vae_lib.engine.device import model_on_device, unwrapped
from vae_lib.metrics import count_parameters
from vae_lib.models import VAE
from vae_lib.pretrained import build_model

BUILDERS = {
    "fc": lambda: FCVAE((1, 7, 5), hidden=(16,), latent_dim=3),
    "fc, no hidden layer": lambda: FCVAE((2, 3, 3), hidden=(), latent_dim=1),
    "autoencoder": lambda: Autoencoder((3, 5, 4), hidden=(16, 8), latent_dim=2),
    "conv": lambda: ConvVAE((3, 16, 24), channels=(4, 8), latent_dim=5),
    "conv, all options": lambda: ConvVAE((1, 8, 8), (4, 6, 8), 3, batch_norm=True, activation="silu"),
}


@pytest.fixture(params=BUILDERS)
def model(request):
    torch.manual_seed(0)
    return BUILDERS[request.param]()


def test_shapes_and_ranges(model):
    x = torch.rand(6, *model.image_shape)
    x_hat, mu, logvar = model(x)
    assert x_hat.shape == x.shape == model.reconstruct(x).shape
    assert mu.shape == (6, model.latent_dim)
    assert logvar is None if isinstance(model, Autoencoder) else logvar.shape == mu.shape
    assert model.decode(mu).shape == x.shape and model.sample(4).shape == (4, *model.image_shape)
    assert x_hat.min() >= 0 and x_hat.max() <= 1


def test_every_parameter_gets_a_gradient(model):
    x = torch.rand(6, *model.image_shape)
    x_hat, mu, logvar = model(x)
    elbo_loss(x_hat, x, mu, logvar).loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_build_model_rebuilds_from_config(model):
    rebuilt = build_model(model.config)
    assert rebuilt.config == model.config and type(rebuilt) is type(model)
    assert [p.shape for p in rebuilt.parameters()] == [p.shape for p in model.parameters()]


def test_reconstruct_decodes_the_posterior_mean(model):
    model.eval()
    x = torch.rand(2, *model.image_shape)
    torch.testing.assert_close(model.reconstruct(x), model.decode(model.encode(x)[0]))
    torch.testing.assert_close(model.reconstruct(x), model.reconstruct(x))


@pytest.mark.parametrize("name", ["fc", "autoencoder", "conv"])
def test_centre_is_subtracted_from_the_pixels(name):
    plain = BUILDERS[name]()
    centred = build_model(plain.config | {"centre": 0.25})
    centred.load_state_dict(plain.state_dict())
    x = 0.25 + 0.5 * torch.rand(2, *plain.image_shape)
    torch.testing.assert_close(centred.encode(x)[0], plain.encode(x - 0.25)[0])


def test_sample_and_forward_follow_the_generator(model):
    model.eval()
    x = torch.rand(2, *model.image_shape)
    seeded = torch.Generator().manual_seed
    torch.testing.assert_close(model.sample(3, seeded(1)), model.sample(3, seeded(1)))
    torch.testing.assert_close(model(x, seeded(1))[0], model(x, seeded(1))[0])
    assert not torch.equal(model.sample(3, seeded(1)), model.sample(3, seeded(2)))


def test_reparameterize_has_the_posterior_s_moments():
    mu, logvar = torch.tensor([[2.0, -1.0]]), torch.tensor([[-1.0, 0.5]])
    z = reparameterize(mu.expand(200_000, 2), logvar.expand(200_000, 2), torch.Generator().manual_seed(0))
    torch.testing.assert_close(z.mean(dim=0), mu[0], atol=0.02, rtol=0)
    torch.testing.assert_close(z.var(dim=0), logvar[0].exp(), atol=0.02, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_reparameterize_draws_the_numbers_of_randn(dtype):
    for shape in ((1, 1), (3, 5), (40, 20)):
        seeded = (torch.Generator().manual_seed(0) for _ in range(2))
        mu = torch.zeros(shape[::-1], dtype=dtype).T  # not contiguous
        z = reparameterize(mu, mu, next(seeded))
        assert torch.equal(z, torch.randn(shape, dtype=dtype, generator=next(seeded)))


def test_reparameterize_gradients():
    """dz/dmu = 1 and dz/dlogvar = (z - mu) / 2, exactly."""
    mu, logvar = (torch.randn(5, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    z = reparameterize(mu, logvar)
    grad_mu, grad_logvar = torch.autograd.grad(z.sum(), (mu, logvar))
    torch.testing.assert_close(grad_mu, torch.ones_like(mu))
    torch.testing.assert_close(grad_logvar, 0.5 * (z - mu))


def test_gradient_of_an_expectation():
    """d/dmu E[z^2] = 2 mu and d/dlogvar E[z^2] = sigma^2, estimated through the sample."""
    mu, logvar = torch.tensor([1.5], requires_grad=True), torch.tensor([-0.5], requires_grad=True)
    z = reparameterize(mu.expand(400_000, 1), logvar.expand(400_000, 1), torch.Generator().manual_seed(0))
    grad_mu, grad_logvar = torch.autograd.grad(z.square().mean(), (mu, logvar))
    assert grad_mu.item() == pytest.approx(3.0, abs=0.02)
    assert grad_logvar.item() == pytest.approx(torch.tensor(-0.5).exp().item(), abs=0.02)


def test_extreme_logvar_stays_finite():
    model = FCVAE((1, 2, 2), hidden=(), latent_dim=2)
    with torch.no_grad():
        model.encoder[-1].bias.copy_(torch.tensor([0.0, 0.0, 1e4, -1e4]))
    x = torch.rand(3, 1, 2, 2)
    assert torch.isfinite(elbo_loss(model(x)[0], x, *model.encode(x)).loss)


def test_parameter_counts_by_hand():
    encoder, decoder = 12 * 4 + 4 + 4 * 6 + 6, 3 * 4 + 4 + 4 * 12 + 12
    assert count_parameters(FCVAE((3, 2, 2), hidden=(4,), latent_dim=3)) == encoder + decoder
    # 3-32-64-128, 32-16-8-4, kernel 4, latent 128
    convolutions = 16 * (3 * 32 + 32 * 64 + 64 * 128)
    down, up = convolutions + 32 + 64 + 128, convolutions + 64 + 32 + 3
    linear = 2048 * 256 + 256 + 128 * 2048 + 2048
    assert count_parameters(ConvVAE((3, 32, 32))) == down + up + linear


@pytest.mark.parametrize("side", [30, 4, 33])
def test_sides_that_the_strides_do_not_divide(side):
    with pytest.raises(LabError, match=f"divisible by 8, not {side}x{side}"):
        ConvVAE((3, side, side))


def test_a_vae_of_own_layers_says_what_it_needs():
    layers = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 8)), torch.nn.Linear(4, 64)
    assert VAE(*layers, image_shape=[1, 8, 8], latent_dim=4).centre == 0.0
    with pytest.raises(TypeError, match="image_shape"):
        VAE(*layers, latent_dim=4)
    with pytest.raises(LabError, match="image_shape=64: give whole numbers"):
        VAE(*layers, image_shape=64, latent_dim=4)


def test_wrong_images_are_refused(model):
    with pytest.raises(LabError, match=r"takes images of shape \(N, .*, not \(2, 9, 9, 9\)\."):
        model.encode(torch.rand(2, 9, 9, 9))
    with pytest.raises(LabError, match=r"without the first side, the batch: give image\[None\]"):
        model.encode(torch.rand(model.image_shape))
    channels, *sides = model.image_shape
    with pytest.raises(LabError, match="takes images of shape"):
        model.encode(torch.rand(2, channels + 1, *sides))
    with pytest.raises(LabError, match="to_float"):
        model.encode(torch.zeros(2, *model.image_shape, dtype=torch.uint8))


def test_images_from_minus_one_to_one_are_refused(model):
    x = torch.rand(6, *model.image_shape, generator=torch.Generator().manual_seed(0))
    for bad in (2 * x - 1, (2 * x - 1).clamp(-0.6, 0.2), -x, torch.tanh(8 * x - 4)):
        with pytest.raises(LabError, match=r"in \[0, 1\], and these are from -.* to .*give \(x \+ 1\) / 2"):
            model.encode(bad)


def test_images_with_noise_and_a_little_overshoot_are_taken(model):
    x = torch.rand(6, *model.image_shape, generator=torch.Generator().manual_seed(0)).round()
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    for sigma in (0.05, 0.3, 1.0):
        model.encode(x + sigma * noise)
    for other in (x * 1.2 - 0.1, torch.zeros_like(x), torch.ones_like(x), x[:0]):
        model.encode(other)


# --- as every tutorial writes it: view, save_file ---


def used_before(model):
    """The model, as a training leaves it: it has computed with its channels side by side."""
    with model_on_device(model):
        model(torch.rand(2, *model.image_shape))
    return model


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_outputs_can_be_viewed(model, training, precision):
    used_before(model).train(training)
    x = torch.rand(4, *model.image_shape)
    for given in (x, x.contiguous(memory_format=torch.channels_last)):
        with torch.autocast("cpu", precision, enabled=precision is not torch.float32):
            x_hat, mu, logvar = model(given)
            others = model.decode(mu), model.reconstruct(given), model.sample(3)
        assert x_hat.view(-1, x[0].numel()).shape == x_hat.view(len(x), -1).shape
        for output in (x_hat, mu, *others, *([] if logvar is None else [logvar])):
            output.view(-1)
    (x_hat.view(4, -1) - x.view(4, -1)).square().sum().backward()  # in a loop of one's own


def test_weights_are_saved_by_safetensors_also_after_a_training(model, tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file(used_before(model).state_dict(), path)
    again = build_model(model.config)
    again.load_state_dict(load_file(path))
    x = torch.rand(3, *model.image_shape)
    torch.testing.assert_close(again.eval().reconstruct(x), model.eval().reconstruct(x))


def test_convolutions_compute_with_channels_side_by_side_after_a_training():
    """The results are those of weights that are laid out so, bit for bit; nothing but the speed depends on it."""
    torch.manual_seed(0)
    model, x = used_before(ConvVAE((3, 16, 16), (8, 16), 4)).eval(), torch.rand(5, 3, 16, 16)
    layouts = []
    for layer in (model.encoder[0], model.encoder[2], model.decoder[2], model.decoder[4]):
        layer.register_forward_pre_hook(
            lambda _, given: layouts.append(given[0].is_contiguous(memory_format=torch.channels_last))
        )
    x_hat = model.reconstruct(x)
    assert layouts == [True] * 4
    assert torch.equal(x_hat, model.to(memory_format=torch.channels_last).reconstruct(x))
    model.encoder[0](x[0])  # a single image has no such layout
    assert len(used_before(model).encoder[0]._forward_pre_hooks) == 2  # twice is once


def test_a_compiled_model_computes_the_same_and_is_found_inside_its_wrappers():
    torch.manual_seed(0)
    model, x = used_before(ConvVAE((3, 8, 8), (4,), 2)), torch.rand(2, 3, 8, 8)
    compiled = torch.compile(model, backend="eager")
    x_hat, mu, _ = compiled(x, torch.Generator().manual_seed(0))
    torch.testing.assert_close(x_hat, model(x, torch.Generator().manual_seed(0))[0])
    x_hat.view(2, -1), mu.view(-1)
    assert unwrapped(compiled) is unwrapped(torch.nn.DataParallel(compiled)) is unwrapped(model) is model


def test_a_compiled_model_takes_batches_of_several_sizes():
    """From the second size on, as an epoch's last batch has it, torch.compile makes the size a variable."""
    model = ConvVAE((1, 4, 4), (2,), latent_dim=2)
    compiled = torch.compile(model, backend="eager")
    for n in (4, 4, 3, 1):
        x = torch.rand(n, 1, 4, 4)
        x_hat, mu, logvar = compiled(x)
        elbo_loss(x_hat, x, mu, logvar).loss.backward()
        assert x_hat.shape == x.shape
        assert torch.compile(model.sample, backend="eager")(n + 2).shape == (n + 2, 1, 4, 4)


def test_codes_of_another_dimension_than_the_models_are_refused():
    encoder, decoder = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)), torch.nn.Linear(4, 64)
    for kind in (VAE, Autoencoder):
        model = FCVAE((1, 8, 8), (3,), 4) if kind is VAE else Autoencoder((1, 8, 8), (3,), 4)
        model.encoder, model.decoder = encoder, decoder
        with pytest.raises(LabError, match=r"means of shape \(2, \d+\), not \(N, latent_dim=4\); let it end with 2"):
            model.encode(torch.rand(2, 1, 8, 8))
    model = FCVAE((1, 8, 8), (3,), 5)
    model.encoder[-1] = torch.nn.Linear(3, 9)
    with pytest.raises(LabError, match=r"logvar of shape \(2, 4\), not \(N, latent_dim=5\)"):
        model.encode(torch.rand(2, 1, 8, 8))


@pytest.mark.parametrize("images", [np.zeros((2, 3, 8, 8)), [torch.rand(2, 3, 8, 8), torch.zeros(2)], None])
def test_images_that_are_no_tensor_are_refused(images):
    with pytest.raises(LabError, match=f"takes images as a tensor, not as {type(images).__name__}"):
        ConvVAE((3, 8, 8), (4,), 2).encode(images)


@pytest.mark.parametrize("used", [lambda model: model, used_before], ids=["new", "used"])
def test_codes_and_images_of_each_image_alone_by_vmap(used):
    torch.manual_seed(0)
    model, x, z = used(ConvVAE((3, 8, 8), (4, 5), 2)).eval(), torch.rand(4, 3, 8, 8), torch.randn(4, 2)
    alone = torch.func.vmap(lambda image: model.encode(image[None])[0][0])(x)
    torch.testing.assert_close(alone, model.encode(x)[0])
    jacobians = torch.func.vmap(torch.func.jacrev(lambda code: model.decode(code[None])[0]))(z)
    _, along = torch.func.jvp(model.decode, (z,), (torch.eye(2)[:1].expand(4, 2),))
    torch.testing.assert_close(jacobians[..., 0], along)


def test_unknown_configurations_are_refused():
    for config in ({"class": "GAN"}, {"class": "FCVAE", "width": 3}, {}):
        with pytest.raises(LabError, match="No model can be built"):
            build_model(config)
    with pytest.raises(LabError, match="activation 'tanh'"):
        ConvVAE((3, 8, 8), activation="tanh")
