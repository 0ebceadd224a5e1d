"""Image datasets: one uint8 tensor each, memory-mapped from a cache that is decoded once.

dataset: what a lesson holds. loading: from a name to it. releases: one class for each dataset, its files and splits.
decoding: from files to pixels. cache: what was decoded before. drawn, drawn_faces: stand-ins that are drawn.
"""

from vae_lib.data.dataset import ImageDataset, to_float
from vae_lib.data.loading import draw_synthetic, load_dataset
from vae_lib.data.releases import DATASETS, SPLITS

__all__ = ["DATASETS", "SPLITS", "ImageDataset", "draw_synthetic", "load_dataset", "to_float"]
