"""Screens small enough for a test of a command, and calls of the command in this process."""

from pathlib import Path

import numpy as np
from PIL import Image
from typer.testing import CliRunner

from cellml.cli import app
from cellml.data.screen_simulation import ScreenDesign
from cellml.data.screen_simulation_project import write_project
from tests.cli.fake_model import discs

DESIGN = {
    "mechanisms": ("topoisomerase_inhibitor",),
    "n_per_mechanism": 1,
    "n_inactive": 0,
    "n_plates": 2,
    "n_rows": 1,
    "n_columns": 3,
    "n_sites": 1,
    "shape": (72, 80),
    "n_cells": 4,
    "cell_diameter_px": 24.0,
}
FIELDS = 6
SIDE_PX = 24


def simulated(folder: Path) -> Path:
    """Writes a screen of two plates with three fields each."""
    return write_project(folder, ScreenDesign(**DESIGN), box_size=SIDE_PX)


def profile(*arguments: object) -> tuple[int, str]:
    """Calls `cellml profile <arguments>`: exit code and output; errors are raised."""
    result = CliRunner().invoke(app, ["profile", *map(str, arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def content(folder: Path) -> dict[str, bytes]:
    """All files below a folder."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def bare_images(folder: Path) -> Path:
    """Writes two fields of discs with a second channel: P1 A02 and b03."""
    (folder / "P1").mkdir(parents=True)
    for seed, well in enumerate(("A02", "b03")):
        nuclei = discs((60, 90), 30, 8, seed=seed)
        Image.fromarray(nuclei).save(folder / "P1" / f"{well}_s1_wDNA_x.png")
        Image.fromarray(np.flip(nuclei)).save(folder / "P1" / f"{well}_s1_wER_x.png")
    return folder
