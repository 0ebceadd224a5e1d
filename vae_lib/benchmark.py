"""Our training loop against the textbook's, in one run: python -m vae_lib.benchmark [--images N] [--epochs N]

The model is that of cifar10-conv-p2 (batch 128). Both loops start from the same weights, see the same images in the
same order with the same noise. Each has a process of its own, and they take turns, epoch by epoch, so that neither
profits from the other's settings and a busy machine slows both.
"""

import argparse
import multiprocessing
import statistics
import time

import torch
from PIL import Image
from torchvision.transforms.functional import to_tensor

from vae_lib import settings
from vae_lib.data import load_dataset, show_setup
from vae_lib.losses import elbo_loss
from vae_lib.models import ConvVAE
from vae_lib.training import TrainConfig, prepare, train_epoch

CONFIG = TrainConfig(batch_size=128, lr=5e-4)


class PILDataset(torch.utils.data.Dataset):
    """What torchvision's CIFAR10(transform=ToTensor()) does for each item: array -> PIL image -> float tensor."""

    def __init__(self, dataset):
        self.arrays = dataset.images.permute(0, 2, 3, 1).contiguous().numpy()
        self.targets = dataset.targets.tolist()

    def __len__(self):
        return len(self.arrays)

    def __getitem__(self, index):
        return to_tensor(Image.fromarray(self.arrays[index])), self.targets[index]


def plain_epoch(model, dataset, optimizer, config, epoch):
    """The textbook's loop: DataLoader, float32, one .item() a step; -> mean loss per image."""
    seed = 1_000_003 * config.seed + epoch  # the order and the noise of train_epoch
    order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(seed)).tolist()
    noise = torch.Generator(settings.DEVICE).manual_seed(seed)
    model.train()
    total = 0.0
    for x, _ in torch.utils.data.DataLoader(dataset, batch_size=config.batch_size, sampler=order):
        x = x.to(settings.DEVICE)
        x_hat, mu, logvar = model(x, generator=noise)
        loss = elbo_loss(x_hat, x, mu, logvar).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() * len(x)
    return total / len(dataset)


def plain_loop(images):
    """The textbook's training: -> a function that runs epoch k and returns its mean loss."""
    torch.manual_seed(0)
    model = ConvVAE((3, 32, 32)).to(settings.DEVICE)
    for layer in model.decoder:
        if isinstance(layer, torch.nn.ConvTranspose2d):
            layer.__class__ = torch.nn.ConvTranspose2d  # PyTorch's own layer, not ours
    optimizer = torch.optim.Adam(model.parameters(), CONFIG.lr)
    dataset = PILDataset(load_dataset("cifar10", "train", limit=images))
    return lambda epoch: plain_epoch(model, dataset, optimizer, CONFIG, epoch)


def our_loop(images):
    """vae_lib's training, as `fit` sets it up: -> a function that runs epoch k and returns its mean loss."""
    torch.manual_seed(0)
    model = ConvVAE((3, 32, 32))
    optimizer = prepare(model, CONFIG)
    train = load_dataset("cifar10", "train", limit=images)
    return lambda epoch: train_epoch(model, train, optimizer, CONFIG, epoch, lambda n: None)[0]


def serve(loop, images, pipe):
    """In a process of its own: run each epoch that comes through the pipe, send back (loss, seconds)."""
    run = loop(images)
    pipe.send("ready")
    while (epoch := pipe.recv()) is not None:
        start = time.perf_counter()
        loss = run(epoch)
        pipe.send((loss, time.perf_counter() - start))


def compare(images, epochs):
    """Run both loops in turns: -> {"plain": ..., "ours": ...}, each with images_per_second (list) and last loss."""
    context = multiprocessing.get_context("spawn")
    pipes, results = {}, {}
    for name, loop in (("plain", plain_loop), ("ours", our_loop)):
        pipes[name], other_end = context.Pipe()
        context.Process(target=serve, args=(loop, images, other_end), daemon=True).start()
        pipes[name].recv()
        results[name] = {"images_per_second": []}
    for epoch in range(1, epochs + 1):
        for name, pipe in pipes.items():
            pipe.send(epoch)
            results[name]["loss"], seconds = pipe.recv()
            results[name]["images_per_second"].append(images / seconds)
    for pipe in pipes.values():
        pipe.send(None)
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20_000, help="training images (default 20,000)")
    parser.add_argument("--epochs", type=int, default=10, help="epochs of each loop (default 10)")
    arguments = parser.parse_args()
    train = load_dataset("cifar10", "train", limit=arguments.images)
    show_setup(train)
    results = compare(len(train), arguments.epochs)
    for name, result in results.items():
        rates = result["images_per_second"]
        print(
            f"{name:6} {statistics.median(rates):7,.0f} images/s (median of {len(rates)} epochs, "
            f"{min(rates):,.0f} to {max(rates):,.0f}); training loss of the last epoch {result['loss']:.2f}"
        )
    plain, ours = results["plain"], results["ours"]
    ratios = [fast / slow for fast, slow in zip(ours["images_per_second"], plain["images_per_second"])]
    print(
        f"ratio  {statistics.median(ratios):.2f}x (median of the turns, {min(ratios):.2f} to {max(ratios):.2f}), "
        f"losses differ by {abs(ours['loss'] / plain['loss'] - 1):.2%}"
    )


if __name__ == "__main__":
    main()
