"""The bar of whatever takes long."""

import sys

from tqdm import tqdm


def progress_bar(total, name, done=0, disable=False, unit=" images"):
    """A bar that counts images, or another unit: it comes after a second, is redrawn at most once a second (nbval fails
    a cell that prints without a pause), and is gone at the end."""
    return tqdm(
        total=total,
        initial=done,
        desc=name,
        unit=unit,
        unit_scale=True,
        delay=1,
        mininterval=1,
        file=sys.stdout,  # Jupyter paints stderr red
        leave=False,
        disable=disable,
    )
