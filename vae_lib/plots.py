"""Pictures of the lessons. Every function returns a matplotlib Figure that a notebook cell shows as its last line."""

import base64
import io
from itertools import cycle

import IPython.display
import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.core.pylabtools import print_figure
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from vae_lib import settings
from vae_lib.checks import LabError
from vae_lib.data import to_float
from vae_lib.storage.files import replacing

DPI = 90
COLOURS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf")


class DescribedFigure(Figure):
    """A figure that a notebook shows with an alternative text, for readers who cannot see it."""

    def _repr_mimebundle_(self, **ignored):
        text = alternative_text(self)
        return {"text/plain": text}, {"image/png": {"alt": text}}

    def _repr_png_(self):  # in the bundle, it is drawn twice: findings/figure_bundles_are_drawn_twice.sh
        return print_figure(self, "png", base64=True)


def alternative_text(figure):
    """One line that says what a figure shows, from its titles, axis labels, tick labels and legends."""
    legends = [*figure.legends, *(axis.get_legend() for axis in figure.axes)]
    pictures = [axis for axis in figure.axes if axis.images and axis.axison]
    found = {
        "": [figure.get_suptitle(), *(axis.get_title() for axis in figure.axes)],
        "x axis: ": [axis.get_xlabel() for axis in figure.axes],
        "y axis: ": [axis.get_ylabel() for axis in figure.axes],
        "Rows: ": [tick.get_text() for axis in pictures for tick in axis.get_yticklabels()],
        "Columns: ": [tick.get_text() for axis in pictures for tick in axis.get_xticklabels()],
        "Shown: ": [text.get_text() for legend in legends if legend for text in legend.get_texts()],
    }
    parts = [name + ", ".join(dict.fromkeys(filter(None, texts))) for name, texts in found.items() if any(texts)]
    is_chart = any(axis.get_xlabel() for axis in figure.axes)
    return f"{'Chart' if is_chart else 'Images'}: {'. '.join(parts)}."


def new_figure(width, height, rows=1, columns=1, title="", **options):
    """A figure and its axes (an array for several), closed for pyplot so that it is shown only once."""
    options = {"layout": "constrained", "figsize": (width, height), "dpi": DPI, **options}
    figure, axes = plt.subplots(rows, columns, FigureClass=DescribedFigure, **options)
    plt.close(figure)
    set_title = figure.suptitle if isinstance(axes, np.ndarray) else axes.set_title
    set_title(title, fontsize=10)
    return figure, axes


def as_rgb(images):
    """Images (N, 1 or 3, H, W), or a single one, uint8 or floats in [0, 1], as floats (N, 3, H, W) on the CPU."""
    images = images.detach().cpu()[(None,) * (4 - images.ndim)]
    return (images if images.is_floating_point() else to_float(images)).expand(-1, 3, -1, -1)


def tile(images, columns):
    """A grid of images as one picture: uint8 or [0, 1] floats (N, C, H, W) -> array (H', W', 3)."""
    from torchvision.utils import make_grid  # here, since importing it takes a second

    return make_grid(as_rgb(images).clamp(0, 1), nrow=columns, padding=2, pad_value=1.0).permute(1, 2, 0).numpy()


def to_png(images, columns=10, pixels=112):
    """A grid of images as the bytes of a PNG file, each about so many pixels wide: fast enough for a slider."""
    file = io.BytesIO()
    enlarge(tile(images, columns), max(1, pixels // images.shape[-1])).save(file, "png")
    return file.getvalue()


def enlarge(picture, scale):
    """An array (H, W, 3) in [0, 1] as a PIL image, each pixel a square of side `scale`."""
    image = Image.fromarray((picture * 255).round().astype(np.uint8))
    return image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)


def show_images(images, title="", columns=10, inches=0.75):
    """Images (N, C, H, W), row by row; a full row of so many columns is columns * inches wide."""
    picture, width = tile(images, columns), inches * columns
    figure, axis = new_figure(width, width * picture.shape[0] / picture.shape[1] + 0.3, title=title)
    axis.imshow(picture, interpolation="nearest")
    axis.axis("off")
    return figure


def show_rows(rows, title="", above=(), inches=0.75):
    """A row of images, each so many inches wide, for each entry of {name: images (N, C, H, W)}, its name on the left;
    above: labels of the columns. LabError if one row has more images than another."""
    pictures = [as_rgb(images) for images in rows.values()]
    counts = [len(images) for images in pictures]
    if len({*counts}) > 1:
        raise LabError(f"All rows need equally many images, not {', '.join(map(str, counts))}.")
    columns = counts[0]
    picture = tile(torch.cat(pictures), columns)
    height, width, _ = picture.shape
    left = max(1.2, 0.25 + 0.08 * max(len(line) for name in rows for line in str(name).split("\n")))  # inches for names
    top = 0.3 + 0.25 * (len(above) > 0)  # for the title, and for the labels above the columns
    figure, axis = new_figure(inches * columns + left, inches * columns * height / width + top, title=title)
    axis.imshow(picture, interpolation="nearest")
    axis.set_yticks([height / len(rows) * (k + 0.5) for k in range(len(rows))], rows.keys(), fontsize=9)
    axis.set_xticks([width / columns * (k + 0.5) for k in range(len(above))], above, fontsize=9)
    axis.tick_params(length=0, labeltop=True, labelbottom=False)
    axis.spines[:].set_visible(False)
    return figure


def plot_history(records, title=""):
    """Loss, reconstruction and KL against the epoch for {name: record of `fit`}: training solid, validation dashed.
    Runs of more than five epochs are shown from the level of their second epoch down, since the first dwarfs the rest.
    """
    figure, axes = new_figure(11, 3.6, columns=3, title=f"{title} (solid: training, dashed: validation)")
    squared = all(record["config"]["likelihood"] == "mse" for record in records.values())
    error = "squared error per image" if squared else "reconstruction term per image"
    parts = {"loss": "loss per image", "reconstruction": error, "kl": "KL in nats per image"}
    for axis, (part, label) in zip(axes, parts.items()):
        for colour, (name, record) in zip(cycle(COLOURS), records.items()):
            for key, style, series in ((f"train_{part}", "-", name), (f"val_{part}", "--", None)):
                if points := [(row["epoch"], row[key]) for row in record["history"] if key in row]:
                    axis.plot(*zip(*points), style, color=colour, label=series)
        second = [record["history"][1][f"train_{part}"] for record in records.values() if len(record["history"]) > 5]
        if second and part != "kl":
            axis.set_ylim(top=max(second))
        axis.set(xlabel="epoch", ylabel=label)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.3)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(records), fontsize=8)
    return figure


def plot_lines(panels, xlabel, ylabel, title="", log_x=False, log_y=False):
    """Curves, panels side by side: {panel: {series: (x, y) or (x, y, error of y)}}. Up to 20 points are marked; a
    longer series is a line. ylabel: one name, then all panels share the y axis, or a list of one a panel, each with an
    axis of its own. log_x: a logarithmic axis whose ticks are the x themselves. Whole numbers get whole ticks."""
    ylabels = [ylabel] * len(panels) if isinstance(ylabel, str) else ylabel
    options = {"columns": len(panels), "squeeze": False, "sharey": isinstance(ylabel, str)}
    figure, axes = new_figure(4.2 * len(panels) + 1, 3.6, title=title, **options)
    for axis, ylabel, (name, series) in zip(axes.flat, ylabels, panels.items()):
        for colour, (label, (x, y, *error)) in zip(cycle(COLOURS), series.items()):
            marker = "o" if len(x) <= 20 else None
            axis.errorbar(x, y, *error, color=colour, label=label, marker=marker, markersize=3, capsize=3)
        if log_x:
            axis.set_xscale("log")
            axis.set_xticks(x, map(str, x))
            axis.minorticks_off()
        elif all(float(value).is_integer() for series_x, *_ in series.values() for value in series_x):
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        if log_y:
            axis.set_yscale("log")
        axis.set(xlabel=xlabel, ylabel=ylabel, title=name)
        axis.legend(fontsize=8, ncols=2 if len(series) > 5 else 1)
        axis.grid(alpha=0.3)
    return figure


def plot_points(
    panels, title="", targets=None, target_names=(), radius=None, same_scale=False, axes_names=("z1", "z2")
):
    """Points in the plane, such as two-dimensional codes, panels side by side: {panel: points (N, 2)}.

    targets (N,) and target_names: colour the points by class, in random order, so that no class hides another.
    radius: draw a dashed circle around 0; of the prior N(0, I), 2.45 holds 95 %. same_scale: all panels share axes.
    """
    options = {"columns": len(panels), "squeeze": False, "sharex": same_scale, "sharey": same_scale}
    figure, axes = new_figure(4 * len(panels) + (targets is not None), 4, title=title, **options)
    for axis, (name, points) in zip(axes.flat, panels.items()):
        order = torch.randperm(len(points), generator=torch.Generator().manual_seed(0))
        colours = COLOURS[0] if targets is None else [COLOURS[k % len(COLOURS)] for k in targets[order]]
        axis.scatter(*points[order].T, s=2, c=colours)
        if radius is not None:
            axis.add_patch(plt.Circle((0, 0), radius, fill=False, linestyle="--", linewidth=1))
        axis.set(title=name, xlabel=axes_names[0], ylabel=axes_names[1])
        axis.set_aspect("equal", adjustable="box" if same_scale else "datalim")
        axis.grid(alpha=0.3)
    if targets is not None:
        dots = [plt.Line2D([], [], linestyle="", marker="o", color=c) for c, _ in zip(cycle(COLOURS), target_names)]
        figure.legend(dots, target_names, loc="outside right upper", fontsize=8)
    return figure


def plot_histograms(series, xlabel, title=""):
    """Histograms on common bins for {series: values (N,)}: shares of all values, as outlines."""
    figure, axis = new_figure(7, 3, title=title)
    edges = np.histogram_bin_edges(np.concatenate(list(series.values())), bins=80)
    for colour, (name, values) in zip(cycle(COLOURS), series.items()):
        axis.hist(values, edges, density=True, histtype="stepfilled", alpha=0.5, color=colour, label=name)
    axis.set(xlabel=xlabel, ylabel="density")
    axis.legend(fontsize=8)
    return figure


def plot_latent_histograms(means, draws, title=""):
    """The histogram of every latent variable, each a column of colour: of one draw of z an image, and of the means.

    means, draws: (N, variables), the posterior means of images and one draw of z for each; values outside -4 to 4 are
    left out. Both panels have the colours of densities from 0 to that of twice the peak of N(0, 1).
    """
    edges = np.linspace(-4, 4, 65)
    figure, axes = new_figure(11, 3.6, columns=2, title=title, sharey=True)
    for axis, (name, values) in zip(axes, {"draws of z": draws, "posterior means": means}.items()):
        density = np.stack([np.histogram(v, edges)[0] / len(v) / (edges[1] - edges[0]) for v in values.T.numpy()])
        picture = axis.pcolormesh(np.arange(len(density) + 1) + 0.5, edges, density.T, vmin=0, vmax=0.8)
        axis.set(xlabel="latent variable", ylabel="value", title=name)
    figure.colorbar(picture, ax=axes, label="density", extend="max")
    return figure


def plot_bars(groups, xlabel, ylabel, title=""):
    """Grouped bars for {series: {label: value}}: one colour a series, one place on the x axis a label. A value that is
    an Estimate (metrics.mean_and_error) gets a bar of its standard error."""
    labels = list(next(iter(groups.values())))
    figure, axis = new_figure(9, 3 if len(labels) <= 10 else 4, title=title)
    width = 0.8 / len(groups)
    for k, (colour, (name, values)) in enumerate(zip(cycle(COLOURS), groups.items())):
        places = np.arange(len(labels)) + (k - (len(groups) - 1) / 2) * width
        heights = [values[label] for label in labels]
        errors = [getattr(height, "error", 0) for height in heights]
        heights = [getattr(height, "mean", height) for height in heights]
        axis.bar(places, heights, width, yerr=errors if any(errors) else None, capsize=3, color=colour, label=name)
    axis.set_xticks(range(len(labels)), labels, rotation=90 if len(labels) > 10 else 0)
    axis.set(xlabel=xlabel, ylabel=ylabel)
    axis.legend(fontsize=8)
    axis.grid(axis="y", alpha=0.3)
    return figure


def plot_matrix(values, rows, columns, ylabel, xlabel, title=""):
    """A matrix (rows, columns) of numbers from -1 to 1 as coloured squares, each with its number."""
    figure, axis = new_figure(0.62 * len(columns) + 2.5, 0.42 * len(rows) + 2, title=title)
    axis.imshow(values.tolist(), cmap="RdBu", vmin=-1, vmax=1, aspect="auto")
    for i, row in enumerate(values.tolist()):
        for j, value in enumerate(row):
            colour = "w" if abs(value) > 0.6 else "k"  # white on dark squares
            axis.text(j, i, f"{value:+.2f}", ha="center", va="center", fontsize=7, color=colour)
    axis.set_xticks(range(len(columns)), columns, rotation=60, ha="right", fontsize=8)
    axis.set_yticks(range(len(rows)), rows, fontsize=8)
    axis.set(xlabel=xlabel, ylabel=ylabel)
    return figure


def save_figure(figure, name):
    """Write figures/<name>.png in the full profile (real data, full training), and return the figure."""
    if settings.PROFILE.writes_results:
        with replacing(settings.FIGURES_DIR / f"{name}.png") as temporary:
            figure.savefig(temporary, dpi=DPI, metadata={"Software": None})
    return figure


def save_animation(frames, name, title, pixels=96):
    """Frames (N, C, H, W) as an animated GIF, shown in the notebook; in the full profile also figures/<name>.gif.
    title: what it shows, for readers who cannot see it."""
    scale = max(1, pixels // frames.shape[-1])
    pictures = [enlarge(picture, scale) for picture in as_rgb(frames).permute(0, 2, 3, 1).numpy()]
    file = io.BytesIO()
    pictures[0].save(file, "gif", save_all=True, append_images=pictures[1:], duration=100, loop=0)
    if settings.PROFILE.writes_results:
        with replacing(settings.FIGURES_DIR / f"{name}.gif") as temporary:
            temporary.write_bytes(file.getvalue())
    source = base64.b64encode(file.getvalue()).decode()
    tag = f'<img alt="Animation: {title}." src="data:image/gif;base64,{source}">'
    return IPython.display.HTML(tag)  # HTML pages show it too


def show_table(header, rows):
    """A Markdown table: header, a list of column names; rows, lists of cells (floats are shown with 2 decimals)."""
    lines = [header, ["---"] * len(header), *rows]
    cells = ([f"{v:.2f}" if isinstance(v, float) else str(v).replace("|", "\\|") for v in line] for line in lines)
    return IPython.display.Markdown("\n".join(f"| {' | '.join(line)} |" for line in cells))
