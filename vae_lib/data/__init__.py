"""Image datasets: one uint8 tensor each, memory-mapped from a cache that is decoded once.

dataset: what a lesson holds. loading: from a name to it. releases, folders: one class for each published set, its files
and splits. layouts: how people have these files. stores: folders, .zip archives and Parquet files of pictures. sample:
the real images in the repository. decoding: from files to pixels. cache: what was decoded before. download: files from
the network. drawn_faces: faces whose true factors are known.
"""

from vae_lib.data.dataset import ImageDataset, to_float
from vae_lib.data.loading import load_dataset, load_drawn_faces
from vae_lib.data.releases import SPLITS
from vae_lib.data.sample import DATASETS

__all__ = ["DATASETS", "SPLITS", "ImageDataset", "load_dataset", "load_drawn_faces", "to_float"]
