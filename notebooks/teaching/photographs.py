"""No photograph of CelebA in a rendered notebook: its agreement forbids publishing any portion of it.

render.py calls `watch` in the kernel, before the first cell. From then on, every picture that vae_lib.plots draws is
compared with every photograph of CelebA that the notebook has loaded, pixel by pixel, and as in a mirror, both shrunk
to 32x32. One that is nearer than NEAREST ends the rendering. What was seen goes into a file, and from there into the
notebook's metadata, where a test looks for it.

It is against mistakes, not against intent: a crop, a shift by two pixels, or a grid that was made beforehand goes past
it. Measured, as root mean squares, with all 20,000 photographs: one of them 0.000; brightened by a tenth 0.047 on
average; reconstructions of 300 test photographs 0.026 to 0.147, two in ten below 0.055. Never below it: free faces
(from 0.080), their reconstructions (0.056, by celeba32-conv), 500 generated faces (0.060 at temperature 0.3).
"""

import json
from pathlib import Path

import torch
import torch.nn.functional as F

from vae_lib import plots
from vae_lib.data import loading, to_float

NEAREST = 0.055  # of pixels in [0, 1]


def watch(report):
    """Compare all pictures from now on; report: a file that tells how many there were, and how near the nearest was."""
    photographs, seen = [], {"pictures": 0, "photographs": 0, "nearest": None}
    read, as_rgb = loading.read, plots.as_rgb

    def reading(release, *others):
        dataset = read(release, *others)
        if (release.name, release.source) == ("celeba", "real"):
            photographs.append(torch.cat([shrunk(to_float(part)) for part in dataset.images.split(1000)]))
            seen["photographs"] += len(dataset)
            Path(report).write_text(json.dumps(seen))
        return dataset

    def showing(images):
        pictures = as_rgb(images)
        distance = nearest(pictures, photographs)
        if not distance >= NEAREST:  # NaN is none
            raise ValueError(
                f"A picture is a photograph of CelebA, or nearly ({distance:.3f}): show free faces instead."
            )
        seen["pictures"] += len(pictures)
        seen["nearest"] = round(min(distance, seen["nearest"] or distance), 3) if photographs else None
        Path(report).write_text(json.dumps(seen))
        return pictures

    loading.read, plots.as_rgb = reading, showing
    Path(report).write_text(json.dumps(seen))


def shrunk(images):
    """Images (N, 3, H, W), as they are shown, as rows of 32x32 pixels: (N, 3072)."""
    return F.adaptive_avg_pool2d(images.float().clamp(0, 1), 32).flatten(1)


def nearest(pictures, photographs):
    """The smallest root mean square between a picture, or its mirror image, and a photograph; infinite without any."""
    if not photographs:
        return float("inf")
    rows = torch.cat([shrunk(pictures), shrunk(pictures.flip(3))])
    distances = torch.cat([torch.cdist(rows, part).min().view(1) for part in photographs])
    return distances.min().item() / rows.shape[1] ** 0.5
