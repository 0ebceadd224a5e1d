"""How time and memory of training grow with the number of images, their size, and the number of latent dimensions.

    python tests/benchmarks/growth.py --out figures/cost_growth.png

The numbers go beside the figure, as .json. The pixels are random: how long a step takes does not depend on them.
"""

import argparse
import math
import time
from pathlib import Path

from speed import apart, peak_memory, random_images, run_script

from vae_lib.cli.images import check_file_out
from vae_lib.engine.device import hardware, images_on_device, model_on_device
from vae_lib.engine.graphs import recorded
from vae_lib.metrics import count_parameters
from vae_lib.models import ConvVAE
from vae_lib.plots import COLOURS, new_figure
from vae_lib.storage.files import replacing, write_json, writing
from vae_lib.storage.records import environment, show_setup
from vae_lib.training import TrainConfig, make_optimizer, train_epoch, training_step

CHANNELS = (32, 64, 128, 256)
SERIES = {  # what grows -> (images, side of the images, latent dimensions) of each point
    "images": [(images, 32, 128) for images in (2_500, 5_000, 10_000, 20_000, 40_000)],
    "side": [(40_960 // side, side, 128) for side in (32, 64, 128, 256)],
    "latent": [(2_500, 32, latent) for latent in (2, 8, 32, 128, 512, 2048)],
}


def measure(images, side, latent):
    """Train a ConvVAE in this process: -> what an epoch took, the fastest of three, and the most memory that was held.

    {"images", "side", "latent", "parameters", "seconds", "memory": MiB, without those of the imports}.
    """
    before, _ = peak_memory()
    dataset = images_on_device(random_images(images, side))
    config = TrainConfig(batch_size=64)
    model = ConvVAE((3, side, side), CHANNELS, latent, centre=0.5)
    seconds = []
    with model_on_device(model, config.precision):
        optimizer, step = make_optimizer(model, config), recorded(training_step, model)
        for epoch in (1, 2, 3):
            start = time.perf_counter()
            train_epoch(model, optimizer, dataset, config, epoch, step)  # waits for a GPU at its end
            seconds.append(time.perf_counter() - start)
    resident, on_gpu = peak_memory()
    memory = on_gpu if on_gpu is not None else resident and resident - before
    sizes = {"images": images, "side": side, "latent": latent, "parameters": count_parameters(model)}
    return sizes | {"seconds": min(seconds), "memory": memory}


def measure_apart(*point):
    """`measure` in a fresh process, since a process keeps the memory that it once had; prints the result."""
    result = apart(measure, *point)
    print(
        f"{result['images']:7,} {result['side']:5} {result['latent']:6} {result['parameters']:11,} "
        f"{result['seconds']:8.2f} {result['images'] / result['seconds']:9,.0f} {result['memory'] or math.nan:7,.0f}",
        flush=True,
    )
    return result


def plot_growth(series, machine):
    """Time and memory of {what grows: list of results} on logarithmic axes: -> Figure.

    Time is that of an epoch where the number of images grows, and that of 10,000 images elsewhere.
    """
    figure, axes = new_figure(10, 5.5, rows=2, columns=len(series), sharex="col", sharey="row")
    labels = {"images": "images", "side": "side of the images", "latent": "latent dimensions"}
    for (key, points), (above, below) in zip(series.items(), axes.T):
        x = [point[key] for point in points]
        seconds = [point["seconds"] * (1 if key == "images" else 10_000 / point["images"]) for point in points]
        memory = [point["memory"] or math.nan for point in points]
        for axis, values, colour in ((above, seconds, COLOURS[0]), (below, memory, COLOURS[1])):
            axis.loglog(x, values, "o-", color=colour)
            for place in zip(x, values):
                number = f"{place[1]:,.0f}" if place[1] >= 100 else f"{place[1]:.3g}"
                axis.annotate(number, place, (0, 6), textcoords="offset points", ha="center", fontsize=8)
            axis.grid(alpha=0.3)
            axis.set(xmargin=0.12, ymargin=0.15, yticks=[])
        above.set_title("seconds per epoch" if key == "images" else "seconds per 10,000 images", fontsize=10)
        below.set_title("peak memory in MiB", fontsize=10)
        below.set_xlabel(labels[key])
        below.set_xticks(x, [f"{value:,}" for value in x])
        for axis in (above, below):
            axis.minorticks_off()
    figure.suptitle(f"Cost of training a convolutional VAE on random pixels ({machine}), logarithmic axes", fontsize=11)
    return figure


def main(argv=None):
    """Measure every point in a process of its own, print a table, write the figure and its numbers."""
    parser = argparse.ArgumentParser("growth.py", description="How the cost of training grows with data and model.")
    parser.add_argument("--out", type=Path, default="runs/growth.png", help="a .png file (default %(default)s)")
    out = parser.parse_args(argv).out
    check_file_out(out, ".png")
    show_setup()
    print(f"{'images':>7} {'side':>5} {'latent':>6} {'parameters':>11} {'s/epoch':>8} {'images/s':>9} {'MiB':>7}")
    series = {name: [measure_apart(*point) for point in points] for name, points in SERIES.items()}
    with writing(out), replacing(out) as temporary:
        plot_growth(series, hardware()).savefig(temporary, format="png", metadata={"Software": None})
    write_json(out.with_suffix(".json"), {**environment(), "series": series}, indent=1)
    print(f"written: {out} and {out.with_suffix('.json')}")


if __name__ == "__main__":
    run_script(main)
