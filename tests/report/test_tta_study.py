"""Figures of the TTA study: what is drawn, not how it looks."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from cellml.report.tta_study import ERROR_COLOURS, EpochScores, draw_epochs, error_map


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


def test_equal_results_give_equal_files(tmp_path):
    group = group_of([1, 2], [np.array([0.1, -0.1]), np.array([0.2])])
    for name in ("one", "two"):
        draw_epochs([group], tmp_path / name, score="IoU")
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
