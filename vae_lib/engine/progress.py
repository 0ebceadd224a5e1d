"""The bar of a training."""

import sys

from tqdm import tqdm


def progress_bar(images, name, done=0, disable=False):
    """A bar that counts images, redrawn at most once a second: nbval fails a cell that prints without a pause."""
    return tqdm(
        total=images,
        initial=done,
        desc=name,
        unit=" images",
        unit_scale=True,
        mininterval=1,
        file=sys.stdout,  # Jupyter paints stderr red
        leave=False,
        disable=disable,
    )
