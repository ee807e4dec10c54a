"""Figures of the TTA study: what is drawn, not how it looks."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from cellml.report import tta_study
from cellml.report.tta_study import (
    ERROR_COLOURS,
    EpochScores,
    draw_deltas,
    draw_epochs,
    error_map,
)


def test_error_map_has_one_colour_per_kind_of_pixel():
    true = np.array([[True, False, True, False]])
    found = np.array([[True, True, False, False]])
    expected = [to_rgb(colour) for colour in ERROR_COLOURS.values()]
    np.testing.assert_allclose(error_map(true, found)[0], expected)


def group_of(epochs, deltas):
    means = {"none": [0.6] * len(epochs), "tta": [0.7] * len(epochs)}
    return EpochScores(
        group="augmented",
        epochs=epochs,
        means=means | {"dilated": [0.65] * len(epochs)},
        deltas=deltas,
        intervals=[(0.0, 0.2)] * len(epochs),
        dilated=[0.05] * len(epochs),
    )


@pytest.mark.parametrize("n_epochs", [1, 3])
def test_epochs_with_a_wild_image(tmp_path, n_epochs):
    """One image far out is counted beside the axis instead of flattening everything."""
    deltas = [np.linspace(-0.1, 0.2, 120) for _ in range(n_epochs)]
    deltas[0] = np.append(deltas[0], [-40.0])
    group = group_of([1, 5, 10][:n_epochs], deltas)
    draw_epochs([group, group._replace(group="plain")], tmp_path / "a.b", score="IoU")
    text = (tmp_path / "a.b.svg").read_text()
    n_points = sum(len(d) for d in deltas)
    assert f"1 of {n_points} points lie outside" in text
    for words in ("augmented", "plain", "mean IoU", "change of IoU by TTA"):
        assert words in text
    assert (tmp_path / "a.b.png").exists()


def test_deltas_show_mean_and_median_of_every_checkpoint(tmp_path, monkeypatch):
    """Dashed lines lie at the means, solid ones at the medians; every image is a point."""
    figures = []
    monkeypatch.setattr(tta_study, "_save", lambda figure, stem: figures.append(figure))
    deltas = [np.array([-0.1, 0.0, 0.4]), np.array([]), np.array([0.02, 0.05, 0.05, -0.3])]
    group = group_of([1, 2, 9], deltas)
    draw_deltas([group, group._replace(group="plain")], tmp_path / "a", score="mAP_DSB")
    for axis in figures[0].axes:
        lines = [line for line in axis.lines if len(set(line.get_ydata())) == 1][1:]  # without 0
        heights = {style: [] for style in ("-", "--")}
        for line in lines:
            style = "--" if line.get_linestyle() == "--" else "-"
            heights[style].append(line.get_ydata()[0])
        np.testing.assert_allclose(heights["--"], [0.1, -0.045])
        np.testing.assert_allclose(heights["-"], [0.0, 0.035])
        points = np.concatenate([np.asarray(dots.get_offsets()) for dots in axis.collections])
        assert len(points) == 7
        np.testing.assert_array_equal(np.sort(points[points[:, 0] < 1, 1]), deltas[0])
        assert [text.get_text().split("\n")[0] for text in axis.get_xticklabels()] == [
            "1", "2", "9",
        ]  # fmt: skip
    assert "25% worse" in figures[0].axes[0].get_xticklabels()[2].get_text()


def test_equal_results_give_equal_files(tmp_path):
    group = group_of([1, 2], [np.array([0.1, -0.1]), np.array([0.2])])
    for name in ("one", "two"):
        draw_epochs([group], tmp_path / name, score="IoU")
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
