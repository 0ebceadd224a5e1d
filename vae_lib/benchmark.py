"""Our training loop against the textbook's, in one run: python -m vae_lib.benchmark [--images N] [--epochs N]

The model is that of cifar10-conv-p2 (batch 128). Both loops start from the same weights, see the same images in the
same order with the same noise, and take turns, epoch by epoch, so that a busy machine slows both.
"""

import argparse
import statistics
import time

import torch
from PIL import Image
from torchvision.transforms.functional import to_tensor

from vae_lib import settings
from vae_lib.data import load_dataset, show_setup
from vae_lib.losses import elbo_loss
from vae_lib.models import ConvVAE
from vae_lib.training import TrainConfig, train_epoch

CONFIG = TrainConfig(batch_size=128, lr=5e-4)


class PILDataset(torch.utils.data.Dataset):
    """The textbook's dataset: a PIL image, turned into a float tensor each time it is asked for."""

    def __init__(self, dataset):
        self.pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in dataset.images]

    def __len__(self):
        return len(self.pictures)

    def __getitem__(self, index):
        return to_tensor(self.pictures[index])


def plain_epoch(model, dataset, optimizer, config, epoch):
    """The textbook's loop: DataLoader, float32, one .item() a step; -> mean loss per image."""
    seed = 1_000_003 * config.seed + epoch  # the order and the noise of train_epoch
    order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(seed)).tolist()
    noise = torch.Generator(settings.DEVICE).manual_seed(seed)
    model.train()
    total = 0.0
    for x in torch.utils.data.DataLoader(dataset, batch_size=config.batch_size, sampler=order):
        x = x.to(settings.DEVICE)
        x_hat, mu, logvar = model(x, generator=noise)
        loss = elbo_loss(x_hat, x, mu, logvar).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() * len(x)
    return total / len(dataset)


def new_model():
    """The same untrained model each time."""
    torch.manual_seed(0)
    return ConvVAE((3, 32, 32)).to(settings.DEVICE)


def compare(train, epochs):
    """Train both loops in turns: -> {"plain": ..., "ours": ...}, each with images_per_second (list) and loss."""
    pictures = PILDataset(train)
    plain, ours = new_model(), new_model().to(memory_format=torch.channels_last)
    plain_optimizer = torch.optim.Adam(plain.parameters(), CONFIG.lr)
    our_optimizer = torch.optim.AdamW(ours.parameters(), CONFIG.lr, weight_decay=0, fused=True)
    runs = {
        "plain": lambda epoch: plain_epoch(plain, pictures, plain_optimizer, CONFIG, epoch),
        "ours": lambda epoch: train_epoch(ours, train, our_optimizer, CONFIG, epoch, lambda n: None)[0],
    }
    results = {name: {"images_per_second": []} for name in runs}
    for epoch in range(1, epochs + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            results[name]["loss"] = run(epoch)
            results[name]["images_per_second"].append(len(train) / (time.perf_counter() - start))
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20_000, help="training images (default 20,000)")
    parser.add_argument("--epochs", type=int, default=6, help="epochs of each loop (default 6)")
    arguments = parser.parse_args()
    train = load_dataset("cifar10", "train", limit=arguments.images)
    show_setup(train)
    results = compare(train, arguments.epochs)
    for name, result in results.items():
        rates = result["images_per_second"]
        print(
            f"{name:6} {statistics.median(rates):7,.0f} images/s (median of {len(rates)} epochs, "
            f"{min(rates):,.0f} to {max(rates):,.0f}); training loss of the last epoch {result['loss']:.2f}"
        )
    plain, ours = results["plain"], results["ours"]
    ratio = statistics.median(ours["images_per_second"]) / statistics.median(plain["images_per_second"])
    print(f"ratio  {ratio:.2f}x, losses differ by {abs(ours['loss'] / plain['loss'] - 1):.2%}")


if __name__ == "__main__":
    main()
