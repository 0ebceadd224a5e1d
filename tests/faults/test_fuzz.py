"""Fuzz: files with damaged bytes, thousands for each reader, and properties that hold for any numbers."""

import re
import shutil
import signal
import warnings
from argparse import Namespace
from functools import cache
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from official_files import (
    encoded,
    kaggle_list,
    picture,
    write_celeba,
    write_celeba_hq,
    write_cifar10_binary,
    write_idx,
    write_kaggle_cifar10,
    write_mnist,
    write_mnist_npz,
    write_parquet,
    write_zip,
)
from vae_lib import pretrained
from vae_lib.attributes import mean_difference, orthogonalise, paired_differences
from vae_lib.checks import LONGEST, LabError
from vae_lib.cli import commands
from vae_lib.cli.parser import build_parser, file_arguments
from vae_lib.data import DATASETS, stores
from vae_lib.data.cache import Block, cache_folder, cached
from vae_lib.data.decoding import decode_files, decode_image
from vae_lib.data.releases import read_cifar10_binary, read_idx
from vae_lib.data.stores import Folder, Zip
from vae_lib.engine.schedule import learning_rate
from vae_lib.latent import interpolate_codes
from vae_lib.losses import elbo_loss, kl_divergence, reconstruction_error
from vae_lib.models import FCVAE, ConvVAE
from vae_lib.pretrained import record_path, train_or_load
from vae_lib.storage import weights
from vae_lib.storage.files import write_json
from vae_lib.storage.records import describe_run
from vae_lib.training import TrainConfig, early_stopping_epoch, fit

VALUE = rb'\[[^][{}]*\]|\{[^][{}]*\}|\\?"\w*\\?"|[\w.+-]+'  # of JSON, also inside a string of JSON, or of a table
OTHER_VALUES = (b"0", b"-1", b"7", b"1.5", b"NaN", b"1e999", b"null", b"true", b"[]", b"{}", b'""', b"[0]", b"9" * 9)


def damaged(whole, rng):
    """The bytes with one thing wrong, more often than not among the first 200, where headers are."""
    data = bytearray(whole)
    end = len(data) if rng.random() < 0.4 else min(200, len(data))
    start, length = rng.integers(end), rng.integers(1, 40)
    other = rng.integers(len(data))
    fills = (rng.bytes(length), bytes(length), b"\xff" * length, data[other : other + length], data[other : other + 1])
    fill = fills[rng.integers(len(fills))]
    kind = rng.integers(8)
    if kind == 0:
        for i in rng.integers(end, size=rng.integers(1, 9)):
            data[i] ^= 1 << rng.integers(8)
    elif kind == 1:
        for i in rng.integers(end, size=rng.integers(1, 9)):
            data[i] = rng.integers(256)
    elif kind == 2:
        del data[start:]
    elif kind == 3:
        del data[start : start + length]
    elif kind == 4:
        data[start : start + len(fill)] = fill
    elif kind == 5:
        data[start:start] = fill * rng.choice([1, 1, 1, 20, 5000])
    else:  # one value becomes another one; the length is kept where it can be, since headers count bytes
        values = list(re.finditer(VALUE, data)) or [re.search(b"", data)]
        value, new = values[rng.integers(len(values))], OTHER_VALUES[rng.integers(len(OTHER_VALUES))]
        data[value.start() : value.end()] = new.ljust(len(value.group()))
    return bytes(data)


# --- the readers: each writes a small whole file, and says how it is read ---


def idx(folder, tiny):
    path = folder / "images-idx3-ubyte"
    write_idx(path, np.arange(5 * 7 * 6, dtype=np.uint8).reshape(5, 7, 6), pack=False)

    def read():
        array = read_idx(path)
        assert array.dtype == np.uint8 and 4 + 4 * array.ndim + array.size == path.stat().st_size
        assert np.array_equal(array.shape, np.frombuffer(path.read_bytes(), ">i4", array.ndim, 4))

    return path, read


def idx_gz(folder, tiny):
    path = folder / "images-idx3-ubyte.gz"
    write_idx(path, np.arange(5 * 7 * 6, dtype=np.uint8).reshape(5, 7, 6))

    def read():
        assert read_idx(path).dtype == np.uint8

    return path, read


def mnist_part(folder, name, pack):
    write_mnist(folder / "data", n=6, pack=pack)
    mnist = DATASETS["mnist"]
    mnist = mnist.located()
    files = [path for paths in mnist.found.paths.values() for path in paths]

    def read():
        images, labels = mnist.read("train")
        assert images.dtype == labels.dtype == np.uint8
        assert images.shape == (len(labels), 1, 28, 28) and labels.ndim == 1 and len(labels) and labels.max() <= 9

    return next(file for file in files if file.name.startswith(name)), read


def mnist_images(folder, tiny):
    return mnist_part(folder, "train-images", pack=False)


def mnist_labels(folder, tiny):
    return mnist_part(folder, "train-labels", pack=False)


def mnist_gz(folder, tiny):
    return mnist_part(folder, "train-images", pack=True)


def cifar10(folder, tiny):
    write_cifar10_binary(folder, n=3)
    path = folder / "cifar-10-batches-bin" / "test_batch.bin"

    def read():
        records = read_cifar10_binary(path)
        assert records.dtype == np.uint8 and records.shape == (path.stat().st_size // 3073, 3073) and len(records)
        assert records[:, 0].max() <= 9

    return path, read


def mnist_npz(folder, tiny):
    write_mnist_npz(folder / "data" / "mnist.npz", write_mnist(folder / "elsewhere", n=2))
    mnist = DATASETS["mnist"].located()

    def read():
        for part in ("train", "test"):
            images, labels = mnist.read(part)
            assert images.dtype == labels.dtype == np.uint8 and labels.max() <= 9
            assert images.shape == (len(labels), 1, 28, 28) and len(labels)

    return folder / "data" / "mnist.npz", read


def cifar10_labels(folder, tiny):
    write_kaggle_cifar10(folder / "data" / "cifar10", write_cifar10_binary(folder, n=2))
    cifar10 = DATASETS["cifar10"].located()

    def read():
        images, labels = cifar10.read("train")
        assert images.shape == (len(labels), 3, 32, 32) and np.isin(labels, range(10)).all()

    return folder / "data" / "cifar10" / "trainLabels.csv", read


def celeba_of(folder):
    """How a CelebA is read, in whatever layout it lies there."""

    def read():
        stores.group_ends.cache_clear(), stores.read_pictures.cache_clear()
        celeba = DATASETS["celeba"].located()
        assert "Smiling" in celeba.target_names
        for split in ("train", "val", "test"):
            names, notes = celeba.split(split)
            assert set(names) <= set(celeba.files) and all(note.isprintable() for note in notes)
            if names:
                targets = celeba.read_targets(names)
                assert targets.shape == (len(names), len(celeba.target_names)) and np.isin(targets, (0, 1)).all()
                block = decode_files(celeba.store, names, targets, 8, None)
                assert len(block.images) + len(block.skipped) == len(names)
                assert all(len(persons) == len(names) for persons in celeba.factors(names).values())

    return read


PARTS = (0,) * 8 + (1,) * 3 + (2,) * 2


def celeba_list(folder, name):
    write_celeba(folder / "data", PARTS)
    return folder / "data" / "celeba" / name, celeba_of(folder)


def celeba_attributes(folder, tiny):
    return celeba_list(folder, "list_attr_celeba.txt")


def celeba_partition(folder, tiny):
    return celeba_list(folder, "list_eval_partition.txt")


def celeba_persons(folder, tiny):
    write_celeba(folder / "data", PARTS)
    path = folder / "data" / "celeba" / "identity_CelebA.txt"
    path.write_text("".join(f"{i + 1:06d}.jpg {2880 + i // 2}\n" for i in range(len(PARTS))))
    return path, celeba_of(folder)


def kaggle(folder, name):
    write_celeba(folder / "data", PARTS)
    for each in ("list_attr_celeba.txt", "list_eval_partition.txt"):
        kaggle_list(folder / "data" / "celeba" / each, end="\r\n", begin="\ufeff")
    return folder / "data" / "celeba" / name, celeba_of(folder)


def kaggle_attributes(folder, tiny):
    return kaggle(folder, "list_attr_celeba.csv")


def kaggle_partition(folder, tiny):
    return kaggle(folder, "list_eval_partition.csv")


def celeba_hq(folder, name):
    write_celeba_hq(folder / "data" / "celeba", (1, 2, 200_000, 162_771, 5, 6))
    return folder / "data" / "celeba" / name, celeba_of(folder)


def hq_attributes(folder, tiny):
    return celeba_hq(folder, "CelebAMask-HQ-attribute-anno.txt")


def hq_mapping(folder, tiny):
    return celeba_hq(folder, "CelebA-HQ-to-CelebA-mapping.txt")


def small_pictures(n):
    return [encoded(picture(i, 12, 10)) for i in range(n)]


def celeba_parquet(folder, tiny):
    path = folder / "data" / "celeba" / "train-00000-of-00001.parquet"
    columns = {name: [True, False] * 10 for name in ("Smiling", "Male")}
    write_parquet(path, small_pictures(20), celeb_id=[*range(20)], **columns)
    return path, celeba_of(folder)


def celeba_archive(folder, tiny):
    """It is unpacked anew each time, and nothing of it is left outside of celeba/."""
    write_celeba(folder / "data", (0, 0, 1, 2))
    celeba = folder / "data" / "celeba"
    images = {f"img_align_celeba/00000{i + 1}.jpg": content for i, content in enumerate(small_pictures(4))}
    lists = {
        f"{name}.txt": (celeba / f"{name}.txt").read_bytes() for name in ("list_attr_celeba", "list_eval_partition")
    }
    path, read_celeba = (
        write_zip(folder / "data" / "celeba" / "img_align_celeba.zip", images | lists),
        celeba_of(folder),
    )
    around = {*folder.rglob("*")}

    def read():
        shutil.rmtree(celeba / "img_align_celeba", ignore_errors=True)
        for name in lists:
            (celeba / name).unlink(missing_ok=True)
        try:
            read_celeba()
        except LabError as error:
            if "cannot be unpacked" in str(error):
                raise
            raise LabError(f"{path}: {error}") from None  # about a list in it, or one that is missing
        finally:
            assert {new.parent for new in {*folder.rglob("*")} - around} <= {celeba, celeba / "img_align_celeba"}

    return path, read


def zip_store(folder, tiny):
    path = write_zip(folder / "a.zip", {f"{i}.png": content for i, content in enumerate(small_pictures(3))})

    def read():
        """The archive is refused, or each of its pictures is decoded or skipped; nothing is unpacked."""
        stores.open_zip.cache_clear()
        names = list((store := Zip(path)).files())
        block = decode_files(store, names, np.zeros((len(names), 0), np.int64), 8, None)
        assert len(block.images) + len(block.skipped) == len(names) and [*folder.iterdir()] == [path]
        if block.skipped:
            raise LabError(f"{path}/{block.skipped[0]}")

    return path, read


def image_file(folder, name, **how):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned
    picture(0, 40, 30).save(folder / name, exif=exif, **how)
    picture(1, 40, 30).save(folder / "whole.png")

    def read():
        """A damaged file is skipped, or decodes to some picture; the one beside it is decoded in any case."""
        warnings.filterwarnings("ignore", module=r"PIL\.")  # which would make another exception of it
        block = decode_files(Folder(folder), [name, "whole.png"], np.zeros((2, 0), np.int64), 16, None)
        assert block.images.dtype == np.uint8 and block.images.shape == (2 - len(block.skipped), 3, 16, 16)
        assert np.array_equal(block.images[-1], decode_image(folder / "whole.png", 16))
        if block.skipped:
            raise LabError(f"{folder}/{block.skipped[0]}")

    return folder / name, read


def jpeg(folder, tiny):
    return image_file(folder, "a.jpg")


def progressive_jpeg(folder, tiny):
    return image_file(folder, "a.jpg", progressive=True)


def png(folder, tiny):
    return image_file(folder, "a.png")


def webp(folder, tiny):
    return image_file(folder, "a.webp")


BLOCK = Block(np.arange(6 * 64, dtype=np.uint8).reshape(6, 1, 8, 8), np.arange(6), ["a.jpg: no whole image"])


def cache_file(name):
    def read():
        images, targets, skipped = cached("any", "key", lambda start: [BLOCK])
        assert images.dtype == np.uint8 and images.shape == BLOCK.images.shape
        assert targets.dtype == np.int64 and targets.shape == BLOCK.targets.shape
        assert isinstance(skipped, list) and all(isinstance(sentence, str) for sentence in skipped)
        torch.from_numpy(images), torch.from_numpy(targets)

    read()
    return cache_folder() / "any-key" / name, read


def cache_images(folder, tiny):
    return cache_file("images.npy")


def cache_targets(folder, tiny):
    return cache_file("targets.npy")


def cache_skipped(folder, tiny):
    return cache_file("skipped.json")


def cache_progress(folder, tiny):
    """What an interrupted decoding has noted beside its images; it ends with the same images in any case."""
    path, unfinished = folder / "progress.json", cache_folder() / ".any"

    def decode(start, stop=False):
        yield from [BLOCK, BLOCK][start // 7 :]
        if stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached("any", "key", lambda start: decode(start, stop=True))
    shutil.copy(unfinished / "progress.json", path)
    shutil.copytree(unfinished, folder / "unfinished")

    def read():
        shutil.rmtree(cache_folder())
        shutil.copytree(folder / "unfinished", unfinished)
        shutil.copy(path, unfinished / "progress.json")
        images, targets, skipped = cached("any", "key", decode)
        assert np.array_equal(images, np.tile(BLOCK.images, (2, 1, 1, 1))) and len(skipped) == 2
        assert np.array_equal(targets, np.tile(BLOCK.targets, 2))

    return path, read


RECORD = {
    "config": {"lr": 0.001, "likelihood": "mse", "mirror": False},
    "data": {"name": "tiny", "source": "real", "image_shape": [1, 8, 8], "train": 64, "val": 0, "crop": None},
    "history": [{"epoch": 1, "train_loss": 9.5, "val_loss": 9.75, "seconds": 1.5}],
    "test": {"one_sample": [9.5, 9.0, 0.5], "posterior_mean": [9.0, 8.5, 0.5]},
    "vectors": {"Smiling": [0.5, -0.25]},
    "paired_vectors": {"Smiling": [0.25, -0.5]},
    "profile": "full",
    "device": "cpu",
}


def small_weights(model):
    weights.round_to_half(model)
    return pretrained.save_pretrained("small", model, {"model": model.config, **RECORD})


def load_small():
    model, record = pretrained.load_pretrained("small")
    with torch.no_grad():
        x_hat, mu, logvar = model(torch.rand(2, *model.image_shape))
    assert x_hat.shape == (2, *model.image_shape) and mu.shape == logvar.shape == (2, model.latent_dim)
    assert all(torch.isfinite(part).all() for part in (x_hat, mu, logvar)) and isinstance(record, dict)


def pretrained_fc(folder, tiny):
    return small_weights(FCVAE((1, 8, 8), (4,), 2)), load_small


def pretrained_conv(folder, tiny):
    return small_weights(ConvVAE((1, 8, 8), (2, 4), 2, batch_norm=True)), load_small


def info_of_a_model(folder, tiny):
    return small_weights(FCVAE((1, 8, 8), (4,), 2)), lambda: commands.show_model("small")


def info_of_all(folder, tiny):
    return small_weights(FCVAE((1, 8, 8), (4,), 2)), lambda: commands.info(Namespace(model=None))


def checkpoint(folder, tiny):
    path, train = folder / "small.checkpoint", tiny.select(slice(8))

    def run(epochs):
        torch.manual_seed(0)
        model = FCVAE((1, 8, 8), (4,), 2)
        config = TrainConfig(batch_size=8, epochs=epochs, precision="float32")
        return model, fit(model, train, train, config, checkpoint=path, progress=False)

    run(2)
    tensors, record = weights.read_tensors(path)
    del record["history"][1:]
    weights.write_tensors(path, tensors, record)  # as if it had been stopped after the first epoch

    def read():
        commands.epochs_kept(path)
        model, record = run(2)
        assert len(record["history"]) == 2 and all(torch.isfinite(p).all() for p in model.parameters())
        assert all(np.isfinite(value) for row in record["history"] for value in row.values())

    return path, read


def record(folder, tiny):
    torch.manual_seed(0)
    config = TrainConfig(batch_size=8, epochs=1)

    def build():
        return FCVAE((1, 8, 8), (4,), 2)

    run = describe_run(build(), tiny, None, config)
    write_json(record_path("small"), RECORD | run)

    def read():
        """It is read, or does not fit, and then another run is made."""
        _, record = train_or_load("small", build, config, tiny, None, weights=False)
        assert isinstance(record, dict) and record["history"]

    return record_path("small"), read


def configuration(path, text):
    path.write_text(text)
    parser = build_parser()

    def read():
        args = parser.parse_args(["train", *file_arguments(path)])
        assert args.lr >= 0 or args.lr < 0
        assert isinstance(args.batch_size, int) and isinstance(args.mirror, bool)

    return path, read


def config_toml(folder, tiny):
    text = 'data = "mnist"\nbatch_size = 64\nlr = 0.001\nchannels = [8, 16]\nmirror = true\n# by hand\nlatent = 8\n'
    return configuration(folder / "run.toml", text)


def config_json(folder, tiny):
    return configuration(
        folder / "run.json", '{"data": "mnist", "batch_size": 64, "lr": 0.001, "channels": [8, 16], "mirror": true}'
    )


READERS = [
    idx,
    idx_gz,
    mnist_images,
    mnist_labels,
    mnist_gz,
    mnist_npz,
    cifar10,
    cifar10_labels,
    celeba_attributes,
    celeba_partition,
    celeba_persons,
    kaggle_attributes,
    kaggle_partition,
    hq_attributes,
    hq_mapping,
    *([celeba_parquet] if find_spec("pyarrow") else []),  # a skipped test would keep the table from being written
    celeba_archive,
    zip_store,
    jpeg,
    progressive_jpeg,
    png,
    webp,
    cache_images,
    cache_targets,
    cache_skipped,
    cache_progress,
    pretrained_fc,
    pretrained_conv,
    info_of_a_model,
    info_of_all,
    checkpoint,
    record,
    config_toml,
    config_json,
]


@pytest.mark.parametrize("cases", [60, pytest.param(2_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.__name__)
def test_damaged_files_are_read_or_named_in_one_sentence(
    reader, cases, tmp_path, tiny, use_profile, monkeypatch, bounded, note
):
    use_profile("lab")
    monkeypatch.setattr(
        pretrained, "fit", lambda *args, **kwargs: RECORD
    )  # train_or_load's; the one here is fit itself
    path, read = reader(tmp_path, tiny)
    whole = path.read_bytes()
    read()
    sentences, failures = [], {}
    for case in range(cases):  # the damage depends on the number alone
        path.write_bytes(damaged(whole, np.random.default_rng(case)))
        signal.alarm(20)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                read()
        except LabError as error:
            sentence = str(error)
            named = str(path) in sentence or f"{path.parent} has" in sentence
            if not named or not sentence.isprintable() or len(sentence) > LONGEST:
                failures.setdefault(f"no sentence that names the file: {sentence!r}", []).append(case)
            sentences.append(sentence.replace(str(path), path.name).replace(str(path.parent), path.parent.name))
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            what = f"{type(error).__name__}: {error}".splitlines()[0][:300]
            failures.setdefault(what, []).append(case)
    signal.alarm(0)
    fault = f"damaged {reader.__name__.replace('_', ' ')}"
    note(fault, cases, f"{len(sentences):,} refused, the others read", max(sentences, key=sentences.count, default=""))
    lines = [f"{len(found)} cases such as {found[:5]}: {what}" for what, found in failures.items()]
    assert not failures, "\n".join(lines)


# --- properties that hold for any numbers ---

some = settings(
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # their folders are written anew for each example
)


def floats(shape, least=-30, most=30):
    """Strategy of float32 tensors."""
    elements = st.floats(least, most, width=32, allow_subnormal=False)
    return arrays(np.float32, shape, elements=elements).map(torch.from_numpy)


@st.composite
def posteriors(draw):
    shape = draw(array_shapes(min_dims=2, max_dims=2, max_side=8))
    return draw(floats(shape)), draw(floats(shape, -30, 20))


@st.composite
def pairs_of_images(draw):
    shape = draw(array_shapes(min_dims=4, max_dims=4, max_side=5))
    return draw(floats(shape, 0, 1)), draw(floats(shape, 0, 1))


@some
@given(posteriors())
def test_the_kl_is_that_of_double_precision_and_never_negative(posterior):
    mu, logvar = (part.double().numpy() for part in posterior)
    reference = 0.5 * (mu**2 + np.expm1(logvar) - logvar).sum(axis=1)
    kl = kl_divergence(*posterior)
    assert kl.shape == (len(mu),) and kl.dtype == torch.float32
    assert np.allclose(kl, reference, rtol=1e-5, atol=1e-5)
    assert (kl >= -1e-6 * mu.shape[1]).all()  # rounding of exp(logvar) - 1


@some
@given(pairs_of_images(), st.sampled_from(["mse", "bce"]), st.integers(0, 2**32 - 1))
def test_errors_are_sums_for_each_image_alone(pair, likelihood, seed):
    x_hat, x = pair
    errors = reconstruction_error(x_hat, x, likelihood)
    assert errors.shape == (len(x),) and torch.isfinite(errors).all() and (errors >= 0).all()
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    assert torch.allclose(reconstruction_error(x_hat[order], x[order], likelihood), errors[order], rtol=1e-5)
    parts = [reconstruction_error(*part, likelihood) for part in zip(x_hat.split(2), x.split(2))]
    assert torch.allclose(torch.cat(parts), errors, rtol=1e-5)
    if likelihood == "mse":
        pixels = (x_hat.double() - x.double()).square()
        assert torch.allclose(errors.double(), pixels.sum(dim=(1, 2, 3)), rtol=1e-5, atol=1e-30)


@some
@given(pairs_of_images(), st.integers(1, 4), st.floats(0, 1e6), st.data())
def test_the_loss_is_reconstruction_plus_beta_kl(pair, latent_dim, beta, data):
    shape = (len(pair[0]), latent_dim)
    mu, logvar = data.draw(floats(shape, -5, 5)), data.draw(floats(shape, -5, 5))
    loss, reconstruction, kl = elbo_loss(*pair, mu, logvar, beta)
    assert torch.isclose(loss.double(), reconstruction.double() + beta * kl.double(), rtol=1e-5)
    assert torch.isclose(kl, kl_divergence(mu, logvar).mean()) and elbo_loss(*pair, mu, None, beta).kl == 0
    order = torch.arange(len(mu)).flip(0)
    again = elbo_loss(*(part[order] for part in (*pair, mu, logvar)), beta)
    assert torch.allclose(torch.stack(again), torch.stack([loss, reconstruction, kl]), rtol=1e-5)


@some
@given(*[array_shapes(min_dims=4, max_dims=4, max_side=3)] * 2)
def test_images_of_another_shape_are_refused_even_if_they_broadcast(one, other):
    assume(one != other)
    with pytest.raises(LabError, match="shape"):
        elbo_loss(torch.zeros(one), torch.zeros(other), torch.zeros(1, 2), torch.zeros(1, 2))


@cache
def coder(latent_dim):
    """A model of which only the size of its codes matters."""
    return FCVAE((1, 1, 2), (1,), latent_dim)


@st.composite
def pairs_of_codes(draw, least=-3, most=3):
    """Two codes of any direction, their norms powers of ten."""
    latent_dim = draw(st.integers(1, 6))
    a, b = draw(floats(latent_dim, -1, 1)), draw(floats(latent_dim, -1, 1))
    powers = st.integers(least, most).map(lambda power: 10.0**power)
    return a * draw(powers), b * draw(powers)


@some
@given(pairs_of_codes(), st.integers(2, 9), st.sampled_from(["lerp", "slerp"]))
def test_walks_end_exactly_are_the_same_backwards_and_stay_in_their_plane(pair, steps, kind):
    a, b = pair
    try:
        codes = interpolate_codes(coder(len(a)), a, b, steps, kind)
    except LabError as error:
        assert kind == "slerp" and "opposite" in str(error) and torch.dot(a, b) < 0
        return
    scale = max(a.norm(), b.norm())
    assert codes.shape == (steps, len(a)) and torch.equal(codes[0], a) and torch.equal(codes[-1], b)
    back = interpolate_codes(coder(len(a)), b, a, steps, kind).flip(0)
    assert (codes - back).norm(dim=1).max() <= 2e-3 * scale  # 1e-3 from the opposite, rounding counts a thousandfold
    t = torch.linspace(0, 1, steps)
    if kind == "lerp":
        assert torch.allclose(codes, a + t[:, None] * (b - a), atol=1e-5 * scale)
    elif min(a.norm(), b.norm()) > 0:
        assert torch.allclose(codes.norm(dim=1), torch.lerp(a.norm(), b.norm(), t), atol=2e-3 * scale)
    plane = torch.linalg.qr(torch.stack([a / a.norm().clamp(min=1e-9), b / b.norm().clamp(min=1e-9)], 1).double())[0]
    outside = codes.double() - codes.double() @ plane @ plane.T
    assert outside.norm(dim=1).max() <= 2e-3 * scale


@some
@given(pairs_of_codes(-30, 30), st.sampled_from(["lerp", "slerp"]))
def test_walks_between_huge_and_tiny_codes_are_finite_or_refused(pair, kind):
    try:
        codes = interpolate_codes(coder(len(pair[0])), *pair, 5, kind)
    except LabError:
        return
    assert torch.isfinite(codes).all()
    assert (codes.double().norm(dim=1) <= 1.001 * max(code.double().norm() for code in pair)).all()


@some
@given(st.integers(1, 6), st.integers(1, 3), st.data())
def test_what_is_left_is_at_a_right_angle_to_each_of_the_others_however_long(latent_dim, n, data):
    vector, others = data.draw(floats(latent_dim, -1, 1)), data.draw(floats((n, latent_dim), -1, 1))
    others = (
        others
        * torch.tensor([10.0**p for p in data.draw(st.lists(st.integers(-4, 2), min_size=n, max_size=n))])[:, None]
    )
    try:
        rest = orthogonalise(vector, *others)
    except LabError:
        return
    assert rest.shape == vector.shape and rest.any()
    assert 1e-5 * vector.double().norm() < rest.double().norm() <= 1.001 * vector.double().norm()
    for other in others:
        assert abs(torch.dot(rest.double(), other.double())) <= 0.02 * rest.double().norm() * other.double().norm()


@some
@given(array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9), st.data())
def test_mean_difference_is_the_difference_of_the_means(shape, data):
    codes, mask = data.draw(floats(shape)), data.draw(arrays(bool, shape[0]).map(torch.from_numpy))
    if not mask.any() or mask.all():
        with pytest.raises(LabError):
            mean_difference(codes, mask)
        return
    values, has = codes.double().numpy(), mask.numpy()
    assert np.allclose(mean_difference(codes, mask), values[has].mean(0) - values[~has].mean(0), atol=1e-4)
    assert torch.equal(mean_difference(codes, ~mask), -mean_difference(codes, mask))


@some
@given(array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9), st.data())
def test_paired_differences_are_those_of_one_person_after_the_other(shape, data):
    codes, mask = data.draw(floats(shape)), data.draw(arrays(bool, shape[0]).map(torch.from_numpy))
    person = data.draw(arrays(np.int64, shape[0], elements=st.integers(-3, 3)).map(torch.from_numpy))
    of = [(codes[person == p], mask[person == p]) for p in sorted(set(person.tolist()))]
    expected = [mean_difference(*one) for one in of if one[1].any() and not one[1].all()]
    found = paired_differences(codes, mask, person)
    assert found.shape == (len(expected), shape[1]) and found.dtype == codes.dtype
    assert np.allclose(found, torch.stack(expected) if expected else found, atol=1e-4)
    assert torch.equal(paired_differences(codes, ~mask, person), -found)


@some
@given(arrays(np.uint8, array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)), st.booleans())
def test_any_array_of_bytes_is_read_as_it_was_written(tmp_path, array, pack):
    path = tmp_path / ("a-idx.gz" if pack else "a-idx")
    write_idx(path, array, pack)
    again = read_idx(path)
    assert again.dtype == np.uint8 and again.shape == array.shape and np.array_equal(again, array)


@some
@given(st.binary(max_size=64), st.booleans())
def test_any_bytes_are_an_array_or_refused(tmp_path, content, marked):
    for name, read in (
        ("a-idx", read_idx),
        ("a-idx.gz", read_idx),
        ("a.bin", read_cifar10_binary),
    ):
        path = tmp_path / name
        path.write_bytes((b"\x1f\x8b\x08\x00" if name.endswith("gz") else b"\x00\x00\x08") * marked + content)
        try:
            assert read(path).dtype == np.uint8
        except LabError as error:
            assert str(path) in str(error)


@some
@given(st.floats(1e-8, 1e3), st.floats(0, 1 - 1e-6), st.sampled_from(["constant", "one-cycle"]))
def test_the_learning_rate_is_above_0_and_at_most_the_given_one(lr, progress, schedule):
    assert 0 < learning_rate(TrainConfig(lr=lr, schedule=schedule), progress) <= lr * (1 + 1e-9)


@some
@given(st.lists(st.integers(0, 12), max_size=15), st.integers(1, 4), st.integers(0, 3))
def test_early_stopping_follows_its_rule(losses, patience, min_delta):
    last = 0  # the last epoch that improved, the first one always
    for epoch in range(1, len(losses) + 1):
        if last == 0 or losses[epoch - 1] < losses[last - 1] - min_delta:
            last = epoch
        if epoch - last == patience:
            assert early_stopping_epoch(losses, patience, min_delta) == epoch
            return
    assert early_stopping_epoch(losses, patience, min_delta) is None


sizes = st.none() | st.integers(2, 24)


@some
@given(st.sampled_from(["L", "LA", "RGB", "RGBA"]), st.integers(1, 30), st.integers(1, 30), st.integers(1, 20), sizes)
def test_photographs_are_cut_and_resized_to_what_was_asked(tmp_path, mode, width, height, size, crop):
    path = tmp_path / "a.png"
    Image.new("RGB", (width, height), (200, 200, 200)).convert(mode).save(path)
    if crop is not None and crop > min(width, height):
        with pytest.raises(ValueError, match="smaller than the crop"):
            decode_image(path, size, crop)
        return
    image = decode_image(path, size, crop)
    assert image.dtype == np.uint8 and image.shape == (3, size, size) and np.abs(image.astype(int) - 200).max() <= 1
