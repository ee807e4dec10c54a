import math

import numpy as np
from PIL import Image

from cellml.report.curves import curve_panels, plot_curves

RECORDS = [
    {"step": 2, "train/loss": 0.9, "train/examples_per_s": 8.0},
    {"step": 4, "train/loss": None, "train/examples_per_s": 8.0},
    {"step": 4, "eval/loss": 0.8, "eval/iou": 0.3},
    {"step": 6, "train/loss": 0.5},
]


def test_panels_join_groups_and_leave_out_what_is_missing():
    assert curve_panels(RECORDS) == {
        "loss": {"train": [(2, 0.9), (6, 0.5)], "eval": [(4, 0.8)]},
        "iou": {"eval": [(4, 0.3)]},
    }


def test_both_files_are_drawn(tmp_path):
    plot_curves(RECORDS, tmp_path / "curves")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curves.png", "curves.svg"]
    pixels = np.asarray(Image.open(tmp_path / "curves.png").convert("L"))
    assert pixels.min() < 60
    assert pixels.shape[1] > pixels.shape[0]
    assert math.isfinite(pixels.std())
    assert pixels.std() > 1
    svg = (tmp_path / "curves.svg").read_text()
    assert svg.rstrip().endswith("</svg>")


def test_nothing_to_draw_writes_nothing(tmp_path):
    plot_curves([{"step": 1, "train/loss": None}], tmp_path / "curves")
    assert not list(tmp_path.iterdir())
