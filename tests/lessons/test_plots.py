"""Figures show what they were given."""

import base64
import io
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from IPython.core.formatters import DisplayFormatter
from IPython.core.pylabtools import select_figure_formats
from matplotlib.backend_bases import FigureCanvasBase
from matplotlib.colors import to_rgba
from PIL import Image

from vae_lib import settings
from vae_lib.checks import LabError
from vae_lib.metrics import Estimate
from vae_lib.plots import (
    COLOURS,
    plot_bars,
    plot_histograms,
    plot_history,
    plot_latent_histograms,
    plot_lines,
    plot_matrix,
    plot_points,
    save_animation,
    save_figure,
    show_images,
    show_rows,
    show_table,
    tile,
    to_png,
)


def test_tile_puts_images_row_by_row():
    images = torch.arange(6).repeat_interleave(3 * 4 * 4).reshape(6, 3, 4, 4) / 5
    picture = tile(images, columns=3)
    assert picture.shape == (2 * 6 + 2, 3 * 6 + 2, 3)
    for k in range(6):
        assert picture[2 + 6 * (k // 3), 2 + 6 * (k % 3), 0] == pytest.approx(k / 5)
    assert (tile(torch.full((1, 1, 4, 4), 255, dtype=torch.uint8), 1) == 1).all()
    for single in (images[2], images[2, 0]):  # without a batch, without a channel
        assert np.array_equal(tile(single, 1), tile(images[2:3], 1))


def test_rows_are_labelled():
    figure = show_rows({"grey": torch.rand(5, 1, 8, 8), "colour": torch.rand(5, 3, 8, 8)}, "title")
    (axis,) = figure.axes
    assert [label.get_text() for label in axis.get_yticklabels()] == ["grey", "colour"]
    assert axis.get_title() == "title"


def test_rows_are_equally_long():
    with pytest.raises(LabError, match="All rows need equally many images, not 4, 3"):
        show_rows({"a": torch.zeros(4, 1, 8, 8), "b": torch.zeros(3, 1, 8, 8)})


def test_columns_are_labelled_above():
    (axis,) = show_rows({"a": torch.rand(3, 1, 8, 8)}, above=[-1, 0, 1]).axes
    axis.figure.canvas.draw()
    ticks = axis.xaxis.get_major_ticks()
    assert [tick.label2.get_text() for tick in ticks] == ["-1", "0", "1"]
    assert all(tick.label2.get_visible() and not tick.label1.get_visible() for tick in ticks)
    assert axis.get_xticks() == pytest.approx([(2 + 3 * 10) / 3 * (k + 0.5) for k in range(3)])


def test_matrix_shows_each_number_in_its_place():
    (axis,) = plot_matrix(torch.tensor([[0.5, -1.0, 0.0]]), ["row"], ["a", "b", "c"], "y", "x").axes
    assert [(text.get_position(), text.get_text()) for text in axis.texts] == [
        ((0, 0), "+0.50"),
        ((1, 0), "-1.00"),
        ((2, 0), "+0.00"),
    ]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["a", "b", "c"]
    assert axis.images[0].get_clim() == (-1, 1)


def test_history_has_a_line_for_training_and_one_for_validation():
    parts = ("loss", "reconstruction", "kl")
    row = {f"{split}_{part}": k + 1.0 for k, part in enumerate(parts) for split in ("train", "val")}
    history = [{"epoch": epoch, **row} for epoch in (1, 2, 3)]
    only_train = [{key: value for key, value in row.items() if "val" not in key} for row in history]
    of = {"config": {"likelihood": "mse"}}
    figure = plot_history({"a": of | {"history": history}, "b": of | {"history": only_train}})
    for k, axis in enumerate(figure.axes):
        assert len(axis.lines) == 3
        assert all(line.get_ydata() == pytest.approx([k + 1] * 3) for line in axis.lines)
    assert figure.axes[1].get_ylabel() == "squared error per image"
    figure = plot_history({"a": of | {"history": history}, "b": {"config": {"likelihood": "bce"}, "history": history}})
    assert figure.axes[1].get_ylabel() == "reconstruction term per image"


def test_no_series_is_left_out():
    """There are ten colours."""
    bars = plot_bars({str(k): {"x": k} for k in range(12)}, "thing", "height")
    lines = plot_lines({"a": {str(k): ([1, 2], [k, k]) for k in range(12)}}, "size", "error")
    names = [f"class {k}" for k in range(12)]
    points = plot_points({"a": torch.randn(24, 2)}, targets=torch.arange(24) % 12, target_names=names)
    assert len(bars.axes[0].patches) == 12 and len(lines.axes[0].get_legend().texts) == 12
    assert [text.get_text() for text in points.legends[0].texts] == names


def test_bars_have_the_values():
    figure = plot_bars({"a": {"x": 1.0, "y": 2.0}, "b": {"x": 3.0, "y": 4.0}}, "thing", "height")
    assert [bar.get_height() for bar in figure.axes[0].patches] == [1, 2, 3, 4]


def test_bars_of_estimates_have_their_errors():
    (axis,) = plot_bars({"a": {"x": Estimate(1.0, 0.25), "y": Estimate(2.0, 0.5)}}, "thing", "height").axes
    assert [bar.get_height() for bar in axis.patches] == [1, 2]
    assert [(low[1], high[1]) for low, high in axis.collections[0].get_segments()] == [(0.75, 1.25), (1.5, 2.5)]


def test_panels_of_different_units_have_axes_of_their_own():
    panels = {"left": {"a": ([1, 2], [0.0, 1.0])}, "right": {"a": ([1, 2], [0.0, 100.0])}}
    left, right = plot_lines(panels, "weight", ["share", "grey levels"]).axes
    assert (left.get_ylabel(), right.get_ylabel()) == ("share", "grey levels")
    assert left.get_ylim()[1] < 2 and right.get_ylim()[1] > 90


def test_latent_histograms_are_densities_on_one_scale():
    draws = torch.randn(5000, 3, generator=torch.Generator().manual_seed(0))
    means = 0.1 * draws
    of_draws, of_means, scale = plot_latent_histograms(means, draws).axes
    for axis, values in ((of_draws, draws), (of_means, means)):
        mesh = axis.collections[0]
        density, edges = mesh.get_array(), mesh.get_coordinates()[:, 0, 1]
        inside = (values.abs() < 4).float().mean(dim=0).numpy()
        assert np.allclose(np.asarray(density).sum(axis=0) * (edges[1] - edges[0]), inside, atol=1e-4)
        assert density.shape == (64, 3) and mesh.get_clim() == (0, 0.8)
    assert scale.get_ylabel() == "density"


def test_every_axis_of_every_chart_has_a_name():
    row = {f"{split}_{part}": 1.0 for split in ("train", "val") for part in ("loss", "reconstruction", "kl")}
    series = {"a": ([1, 2], [3.0, 4.0])}
    charts = [
        plot_history({"a": {"config": {"likelihood": "mse"}, "history": [{"epoch": 1, **row}]}}),
        plot_lines({"left": series, "right": series}, "size", "error"),
        plot_lines({"left": series, "right": series}, "size", ["error", "nats"]),
        plot_points({"left": torch.randn(9, 2), "right": torch.randn(9, 2)}),
        plot_histograms({"a": torch.randn(99)}, "value"),
        plot_latent_histograms(torch.randn(99, 3), torch.randn(99, 3)),
        plot_bars({"a": {"x": 1.0}}, "thing", "height"),
        plot_matrix(torch.eye(2), "ab", "ab", "row", "column"),
    ]
    for figure in charts:
        for axis in figure.axes:
            assert axis.get_ylabel() and (axis.get_xlabel() or axis.get_label() == "<colorbar>")
        assert figure._repr_mimebundle_()[0]["text/plain"].startswith("Chart: ")


def test_lines_have_the_values_and_their_errors():
    panels = {"left": {"a": ([1, 10], [2.0, 3.0])}, "right": {"b": ([1, 10], [4.0, 5.0], [0.5, 1.0])}}
    left, right = plot_lines(panels, "size", "error", log_x=True).axes
    assert left.lines[0].get_ydata().tolist() == [2, 3] and right.lines[0].get_ydata().tolist() == [4, 5]
    assert [(low[1], high[1]) for low, high in right.collections[0].get_segments()] == [(3.5, 4.5), (4, 6)]
    assert [label.get_text() for label in right.get_xticklabels()] == ["1", "10"]
    assert left.get_ylim() == right.get_ylim()


def test_epochs_get_whole_ticks():
    (axis,) = plot_lines({"": {"a": (torch.arange(1, 5), [1.0, 2, 3, 4])}}, "epoch", "loss").axes
    assert all(float(tick).is_integer() for tick in axis.get_xticks())
    (axis,) = plot_lines({"": {"a": ([0.5, 1, 1.5], [1.0, 2, 3])}}, "weight", "loss").axes
    assert not all(float(tick).is_integer() for tick in axis.get_xticks())


def test_points_are_coloured_by_class():
    z, targets = torch.arange(12.0).view(6, 2), torch.tensor([0, 1, 1, 0, 2, 2])
    figure = plot_points({"codes": z}, "", targets, ("a", "b", "c"), radius=2.0)
    (axis,) = figure.axes
    colours = {tuple(to_rgba(COLOURS[k])): k for k in range(3)}
    (points,) = axis.collections
    drawn = {tuple(place): colours[tuple(c)] for place, c in zip(points.get_offsets().data, points.get_facecolors())}
    assert drawn == {tuple(place): k for place, k in zip(z.tolist(), targets.tolist())}
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b", "c"]
    assert axis.patches[0].radius == 2.0


def test_points_without_classes():
    z = torch.arange(12.0).view(6, 2)
    figure = plot_points({"a": z, "b": 9 * z}, same_scale=True)
    figure.canvas.draw()
    left, right = figure.axes
    assert left.get_xlim() == right.get_xlim()
    assert sorted(left.collections[0].get_offsets().tolist()) == z.tolist() and right.get_title() == "b"


def test_table_is_markdown():
    assert show_table(["a", "b"], [["x", 1.234]]).data.splitlines() == ["| a | b |", "| --- | --- |", "| x | 1.23 |"]
    assert show_table(["a"], [["q(z|x)"]]).data.splitlines()[2] == "| q(z\\|x) |"


def test_png_has_the_pixels_enlarged():
    images = torch.tensor([0.0, 1.0, 0.2, 0.6]).view(2, 1, 1, 2)
    picture = np.asarray(Image.open(io.BytesIO(to_png(images, columns=2, pixels=8))))
    assert picture.shape == (5 * 4, (2 * 2 + 6) * 4, 3)  # frames of 2 pixels, everything 4 times as large
    row = picture[10, :, 0].tolist()
    assert row[8:16] == [0] * 4 + [255] * 4 and row[24:32] == [51] * 4 + [153] * 4


def test_animation_has_all_frames(use_profile):
    use_profile("full")
    frames = torch.linspace(0, 1, 5)[:, None, None, None].expand(-1, 1, 8, 8)
    shown = save_animation(frames, "grey", "from black to white", pixels=16)
    assert 'alt="Animation: from black to white."' in shown.data
    file = settings.FIGURES_DIR / "grey.gif"
    with Image.open(file) as animation:
        assert (animation.n_frames, animation.size, animation.info["loop"]) == (5, (16, 16), 0)
    assert base64.b64encode(file.read_bytes()).decode() in shown.data


def test_figures_carry_an_alternative_text_into_the_notebook():
    figure = plot_lines({"AE": {"p1": ([1, 2], [3, 4])}, "VAE": {"p2": ([1, 2], [3, 4])}}, "size", "error", "Errors")
    data, metadata = figure._repr_mimebundle_()
    text = "Chart: Errors, AE, VAE. x axis: size. y axis: error. Shown: p1, p2."
    assert metadata["image/png"]["alt"] == data["text/plain"] == text
    assert Image.open(io.BytesIO(base64.b64decode(figure._repr_png_()))).width > 500
    rows = show_rows({"input": torch.zeros(2, 1, 4, 4), "output": torch.zeros(2, 1, 4, 4)}, "Digits", above=["a", "b"])
    assert rows._repr_mimebundle_()[0]["text/plain"] == "Images: Digits. Rows: input, output. Columns: a, b."


@pytest.mark.parametrize("inline", [True, False])
def test_a_notebook_draws_a_figure_once(inline, monkeypatch):
    """With matplotlib's inline backend, which draws figures by itself, and without it."""
    formatter, drawn, draw = DisplayFormatter(), [], FigureCanvasBase.print_figure
    if inline:
        select_figure_formats(SimpleNamespace(display_formatter=formatter), {"png"})
    monkeypatch.setattr(FigureCanvasBase, "print_figure", lambda *given, **more: drawn.append(draw(*given, **more)))
    data, metadata = formatter.format(plot_histograms({"a": torch.randn(9)}, "value", title="Nine"))
    assert len(drawn) == 1 and data.keys() == {"text/plain", "image/png"}
    assert metadata == {"image/png": {"alt": data["text/plain"]}} and "Nine" in data["text/plain"]


def test_histograms_have_area_one():
    (axis,) = plot_histograms({"a": torch.randn(1000), "b": torch.randn(500) + 3}, "value").axes
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["a", "b"]
    for patch in axis.patches:
        x, y = patch.get_xy().T
        assert abs(0.5 * np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y)) == pytest.approx(1)


def test_only_the_full_profile_writes_figures(use_profile):
    for profile, written in (("quick", False), ("lab", False), ("full", True)):
        use_profile(profile)
        save_figure(show_images(torch.rand(2, 3, 8, 8)), "picture")
        assert (settings.FIGURES_DIR / "picture.png").exists() == written
