"""Releases of arrays on tiny files in the official formats, the dataset object, profiles and the network, bad input."""

import hashlib
import os
import pickle
import time

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch.utils.data import DataLoader, Subset, TensorDataset, random_split

from official_files import files_below, write_cifar10_binary, write_idx, write_mnist
from vae_lib import load_dataset, to_float
from vae_lib.checks import LabError
from vae_lib.data import DATASETS, ImageDataset, load_drawn_faces
from vae_lib.data.dataset import as_images, image_datasets
from vae_lib.data.releases import CIFAR10

# --- the readers ---


@pytest.mark.parametrize("pack", [True, False])
def test_mnist_files(lab, pack):
    arrays = write_mnist(lab, pack=pack)
    train, val, test = (load_dataset("mnist", split) for split in ("train", "val", "test"))
    assert (len(train), len(val), len(test)) == (36, 4, 40) and train.source == "real"
    images, labels = arrays["train"]
    assert np.array_equal(val.images[:, 0], images[::10]) and np.array_equal(val.targets, labels[::10])
    together = torch.cat([val.images, train.images])
    assert {row.numpy().tobytes() for row in together} == {image.tobytes() for image in images}
    assert np.array_equal(test.images[:, 0], arrays["test"][0]) and test.image_shape == (1, 28, 28)


def test_cifar10_binary_files(lab):
    records = write_cifar10_binary(lab)
    train, test = load_dataset("cifar10", "train"), load_dataset("cifar10", "test")
    assert len(train) == 90 and train.image_shape == (3, 32, 32)
    first = records["data_batch_1.bin"][1]  # record 0 is the first validation image
    assert np.array_equal(train.images[0].flatten(), first[1:]) and train.targets[0] == first[0]
    assert np.array_equal(test.images.flatten(1), records["test_batch.bin"][:, 1:])
    assert train.target_names[3] == "cat"


def test_cifar10_pickles(lab, monkeypatch):
    """torchvision's layout, with the md5 sums of the fabricated files in place of the official ones."""
    folder = lab / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    pixels = {}

    def write(name, content):
        (folder / name).write_bytes(pickle.dumps(content))
        return [name, hashlib.md5((folder / name).read_bytes()).hexdigest()]

    def batch(name):
        pixels[name] = rng.integers(0, 256, (10, 3072), dtype=np.uint8)
        return write(name, {"data": pixels[name], "labels": list(range(10))})

    dataset_class = torchvision.datasets.CIFAR10
    monkeypatch.setattr(dataset_class, "train_list", [batch(f"data_batch_{i}") for i in range(1, 6)])
    monkeypatch.setattr(dataset_class, "test_list", [batch("test_batch")])
    name, md5 = write("batches.meta", {"label_names": list(CIFAR10.target_names)})
    monkeypatch.setattr(dataset_class, "meta", {"filename": name, "key": "label_names", "md5": md5})

    test = load_dataset("cifar10", "test")
    assert np.array_equal(test.images.flatten(1), pixels["test_batch"]) and test.targets.tolist() == list(range(10))
    assert len(load_dataset("cifar10", "train")) == 45 and len(load_dataset("cifar10", "val")) == 5

    with open(folder / "test_batch", "ab") as file:
        file.write(b"!")
    with pytest.raises(LabError, match="wrong md5"):
        load_dataset("cifar10", "test")


def test_crop_then_size(lab):
    images = write_mnist(lab)["test"][0]
    cropped = load_dataset("mnist", "test", crop=20)
    assert np.array_equal(cropped.images[:, 0], images[:, 4:24, 4:24])
    assert load_dataset("mnist", "test", crop=20, size=10).image_shape == (1, 10, 10)
    assert load_dataset("mnist", "test", size=32).image_shape == (1, 32, 32)
    assert len(load_dataset("mnist", "test", limit=7)) == 7


def test_a_few_images_of_a_folder_of_classes_are_of_every_class(lab, tmp_path):
    for name in ("train/cat", "train/cat-eye", "train/owl", "test/cat", "test/owl"):  # "cat-eye/" comes before "cat/"
        (tmp_path / "pets" / name).mkdir(parents=True)
        for k in range(10):
            Image.new("RGB", (8, 8)).save(tmp_path / "pets" / name / f"{k}.png")
    some = load_dataset(f"folder:{tmp_path / 'pets'}", size=8, limit=6)
    assert len(some) == 6 and set(some.targets.tolist()) == {0, 1, 2}
    whole = load_dataset(f"folder:{tmp_path / 'pets'}", size=8)
    assert len(load_dataset(f"folder:{tmp_path / 'pets'}", size=8, limit=len(whole) + 1)) == len(whole)


def test_changed_files_are_read_again(lab):
    write_mnist(lab)
    load_dataset("mnist", "test")
    write_mnist(lab, n=30)
    assert len(load_dataset("mnist", "test")) == 30


# --- the dataset object ---


def test_works_with_an_ordinary_data_loader(tiny):
    batches = list(DataLoader(tiny, batch_size=10))
    assert torch.equal(torch.cat([images for images, _ in batches]), tiny.images)
    assert torch.equal(torch.cat([targets for _, targets in batches]), tiny.targets)
    assert batches[0][0].dtype == torch.uint8
    places = torch.randperm(len(tiny))[:20]  # tensors, of which torch takes a short list for something else
    for loader in (DataLoader(Subset(tiny, places), batch_size=1), DataLoader(tiny, 4, sampler=places)):
        assert torch.equal(torch.cat([targets for _, targets in loader]), tiny.targets[places])
    with pytest.raises(LabError, match=r"This is a Subset of a mask, .* give dataset.select\(mask\)"):
        next(iter(DataLoader(Subset(tiny, tiny.targets == 1), 2)))


def test_select_and_label(tiny):
    part = tiny.select(tiny.targets == 3)
    assert set(part.targets.tolist()) == {3} and part.label == "tiny" and "8x8" in repr(part)


def test_pixels_are_bytes_and_are_divided_by_255_once(tiny):
    assert to_float(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [0, 1]
    for given in (torch.tensor([0.0, 1.0]), torch.tensor([0.0, 255.0]), torch.tensor([0, 255])):
        with pytest.raises(LabError, match=f"pixels from 0 to 255 as uint8, not {given.dtype}; floats in .* need no"):
            to_float(given)
    with pytest.raises(LabError, match="pixels from 0 to 255 as uint8, not torch.float32"):
        tiny.with_images(to_float(tiny.images), tiny.targets)


def test_images_without_channels_and_other_numbers_of_targets_are_refused(tiny):
    grey, targets = tiny.images[:, 0], tiny.targets
    for images, labels, message in (
        (grey, targets, r"not \(64, 8, 8\) and \(64,\); images\[:, None\] gives grey ones their channel"),
        (tiny.images, targets[:60], r"a target for each.* not \(64, 1, 8, 8\) and \(60,\)\."),
        (tiny.images, targets.tolist(), r"a tensor with a target for each.* not .* and a list\."),
        (tiny.images.permute(0, 2, 3, 1), targets, r"look like \(N, H, W, C\): .* images.permute\(0, 3, 1, 2\)"),
        (tiny.images.numpy(), targets, "holds pixels as a tensor, not as ndarray; torch.as_tensor"),
    ):
        with pytest.raises(LabError, match=message):
            ImageDataset(images, labels, "0123456789", "tiny", "train", "real")


def test_a_subset_becomes_a_dataset_also_of_a_subset(tiny):
    tiny.factors = {"person": torch.arange(64)}
    kept, _ = random_split(tiny, [40, 24], torch.Generator().manual_seed(0))
    part = as_images(Subset(kept, range(5, 8)))
    chosen = torch.tensor(kept.indices[5:8])
    assert isinstance(part, ImageDataset) and torch.equal(part.images, tiny.images[chosen])
    assert torch.equal(part.targets, tiny.targets[chosen]) and torch.equal(part.factors["person"], chosen)
    assert as_images(tiny) is tiny and len(as_images(Subset(tiny, []))) == 0
    assert torch.equal(as_images(Subset(tiny, np.array([3, 1]))).images, tiny.images[[3, 1]])
    for mask in (tiny.targets == 3, (tiny.targets == 3).tolist(), (tiny.targets == 3).numpy()):
        with pytest.raises(LabError, match=r"a Subset takes indices; give dataset\.select\(mask\)"):
            as_images(Subset(tiny, mask))
    with pytest.raises(LabError, match="indices from 3 to 64 of 64 images"):
        as_images(Subset(tiny, [3, 64]))


def wrong_datasets(tiny):
    """What is given instead of a dataset, and what the sentence says about it."""
    digits = torchvision.datasets.MNIST.__new__(torchvision.datasets.MNIST)
    return [
        (DataLoader(tiny), "a DataLoader of torch; give its .dataset"),
        (TensorDataset(to_float(tiny.images), tiny.targets), "a TensorDataset of torch; ImageDataset\\(images"),
        (Subset(TensorDataset(tiny.images), [0]), "a TensorDataset of torch"),
        (tiny.images, "a Tensor of torch; ImageDataset\\(images, targets, .* makes one of uint8 images"),
        (digits, "a MNIST of torchvision; vae_lib.load_dataset\\('mnist'\\) reads one"),
        ("cifar10", "a str of builtins; vae_lib.load_dataset\\('cifar10'\\)"),
    ]


def test_anything_else_than_a_dataset_is_told_what_to_be(tiny):
    for other, message in [*wrong_datasets(tiny), (None, "None; ImageDataset")]:
        with pytest.raises(
            LabError, match=rf"^train must be an ImageDataset, or a Subset of one, not {message}"
        ) as caught:
            image_datasets(train=other, val=None)
        assert str(caught.value).endswith(".") and "\n" not in str(caught.value)
    with pytest.raises(LabError, match="val must be"):
        image_datasets(train=tiny, val=tiny.images)
    assert image_datasets(train=tiny, val=None, test=tiny) == [tiny, None, tiny]


def test_factors_follow_a_selection():
    drawn = load_drawn_faces(32, 100)
    assert drawn.source == "drawn" and drawn.label == "faces (drawn)" and len(drawn) == len(drawn.factors["hue"]) == 500
    some = drawn.select([5, 7])
    assert some.factors["hue"].tolist() == drawn.factors["hue"][[5, 7]].tolist()
    kept = drawn.targets.clone()
    drawn.targets[:], drawn.factors["hue"][:], drawn.images[:] = 0, 0, 0
    again = load_drawn_faces(32, 100)
    assert torch.equal(again.targets, kept) and again.factors["hue"].any() and again.images.any()


# --- profiles and the network ---


def test_quick_never_touches_the_network(network_calls, lab, use_profile):
    write_mnist(lab)
    use_profile("quick")
    for name in DATASETS:
        assert load_dataset(name).source == "sample"
    assert network_calls == []


def test_lab_falls_back_fast_and_says_why(lab, capsys, network_calls):
    start = time.perf_counter()
    dataset = load_dataset("mnist")
    load_dataset("mnist", "test")
    assert time.perf_counter() - start < 10
    said = capsys.readouterr().out
    assert dataset.source == "sample" and said.count("mnist: the embedded sample of real images") == 1
    assert "cannot be reached" in said and "data/README.md" in said
    assert len(network_calls) == 1  # not for every split


def test_full_refuses_the_sample(use_profile):
    use_profile("full")
    with pytest.raises(LabError, match="data/README.md"):
        load_dataset("cifar10")


# --- bad input ---


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(name="imagenet"), "Unknown dataset 'imagenet'; choose one of mnist, cifar10"),
        (dict(name="mnist", split="dev"), "Unknown split 'dev' of mnist; choose one of train, val, test"),
        (dict(name="mnist", size=0), "size=0"),
        (dict(name="mnist", limit="all"), "limit='all'"),
        (dict(name="mnist", crop=29), "crop=29 is larger than the images of 28x28"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(LabError, match=message):
        load_dataset(**arguments)


def empty_folder(folder):
    (folder / "cifar-10-batches-bin" / "old").mkdir(parents=True)
    return "cifar10", "cifar-10-batches-bin holds old/, which is no layout of cifar10 that is known; complete it"


def missing_batch(folder):
    write_cifar10_binary(folder)
    (folder / "cifar-10-batches-bin" / "data_batch_4.bin").unlink()
    return "cifar10", "has no data_batch_4.bin; complete it"


def truncated_batch(folder):
    write_cifar10_binary(folder)
    os.truncate(folder / "cifar-10-batches-bin" / "test_batch.bin", 10_000)
    return "cifar10", "test_batch.bin has 10,000 bytes"


def wrong_labels(folder):
    write_cifar10_binary(folder)
    np.full(3073, 200, np.uint8).tofile(folder / "cifar-10-batches-bin" / "test_batch.bin")
    return "cifar10", "labels above 9"


def unofficial_pickles(folder):
    (folder / "cifar-10-batches-py").mkdir(parents=True)
    for name in CIFAR10.PICKLES.parts:
        (folder / "cifar-10-batches-py" / name).write_bytes(pickle.dumps({"data": 1}))
    return "cifar10", "incomplete or damaged"


def truncated_gzip(folder):
    write_mnist(folder)
    os.truncate(folder / "MNIST" / "raw" / "t10k-images-idx3-ubyte.gz", 300)
    return "mnist", "t10k-images-idx3-ubyte.gz is damaged"


def not_gzip(folder):
    write_mnist(folder)
    (folder / "MNIST" / "raw" / "t10k-images-idx3-ubyte.gz").write_text("<html>quota exceeded</html>")
    return "mnist", "t10k-images-idx3-ubyte.gz is damaged"


def short_idx(folder):
    write_mnist(folder, pack=False)
    os.truncate(folder / "MNIST" / "raw" / "t10k-images-idx3-ubyte", 1000)
    return "mnist", "t10k-images-idx3-ubyte is damaged"


def fewer_labels(folder):
    write_mnist(folder)
    write_idx(folder / "MNIST" / "raw" / "t10k-labels-idx1-ubyte.gz", np.zeros(3, np.uint8))
    return "mnist", "40 test images but 3 labels"


def missing_file(folder):
    write_mnist(folder)
    (folder / "MNIST" / "raw" / "t10k-labels-idx1-ubyte.gz").unlink()
    return "mnist", "has no t10k-labels-idx1-ubyte; complete it"


@pytest.mark.parametrize(
    "damage",
    [
        empty_folder,
        missing_batch,
        truncated_batch,
        wrong_labels,
        unofficial_pickles,
        truncated_gzip,
        not_gzip,
        short_idx,
        fewer_labels,
        missing_file,
    ],
    ids=lambda damage: damage.__name__,
)
def test_damaged_folders_are_named_in_one_sentence(lab, damage):
    name, message = damage(lab)
    files = files_below(lab)
    with pytest.raises(LabError, match=message) as caught:
        load_dataset(name, "test")
    assert "\n" not in str(caught.value) and str(lab) in str(caught.value)
    assert files_below(lab) == files  # nothing was changed
