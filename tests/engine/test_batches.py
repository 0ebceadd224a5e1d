"""What an epoch is made of: order, mirroring, progress and noise, each from (seed, epoch)."""

import torch

from vae_lib import TrainConfig
from vae_lib.engine import distributed
from vae_lib.engine.batches import epoch_seed, noise_generator, training_batches

CPU = torch.device("cpu")


def epoch_of(dataset, epoch=1, **options):
    """(indices, images, progress of each batch) of an epoch."""
    config = TrainConfig(**{"batch_size": 10, "epochs": 4} | options)
    indices, images, progress = zip(*training_batches(dataset, config, epoch, CPU))
    return torch.cat(indices), torch.cat(images), progress


def test_an_epoch_is_every_image_once_in_an_order_of_its_own(tiny):
    indices, images, _ = epoch_of(tiny)
    assert indices.sort().values.tolist() == list(range(64)) and torch.equal(images, tiny.images[indices] / 255)
    assert torch.equal(indices, epoch_of(tiny)[0])
    others = [epoch_of(tiny, epoch=2)[0], epoch_of(tiny, seed=1)[0]]
    assert not any(torch.equal(indices, other) for other in (*others, torch.arange(64)))


def test_half_of_the_images_are_mirrored_left_to_right(tiny):
    indices, images, _ = epoch_of(tiny, mirror=True)
    plain = tiny.images[indices] / 255
    mirrored = [torch.equal(image, own.flip(2)) for image, own in zip(images, plain)]
    assert all(flipped or torch.equal(image, own) for flipped, image, own in zip(mirrored, images, plain))
    assert 20 < sum(mirrored) < 44


def test_progress_grows_with_every_step_over_all_epochs(tiny):
    progress = [share for epoch in (1, 2, 3, 4) for share in epoch_of(tiny, epoch)[2]]
    assert torch.allclose(torch.tensor(progress), torch.arange(28) / 28)  # 7 batches an epoch


def test_seeds_of_all_epochs_and_processes_differ(monkeypatch):
    configs = [TrainConfig(seed=seed) for seed in range(12)]
    seeds = [epoch_seed(config, epoch) for config in configs for epoch in range(1, 400)]
    assert len(set(seeds)) == len(seeds)
    noises = []
    for rank in (0, 1, 2):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        noises += [noise_generator(config, epoch, CPU).initial_seed() for config in configs for epoch in (1, 2, 3)]
    assert len(set(noises)) == len(noises)
