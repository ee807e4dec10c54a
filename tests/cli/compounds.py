"""Compounds small enough for a test of a command, and calls of the command in this process."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from typer.testing import CliRunner

from cellml.cli_activity_models import activity_app  # with all its commands

CORES = ("c1ccccc1", "c1ccncc1", "C1CCCCC1", "c1ccoc1", "c1ccsc1", "c1ccc2ccccc2c1")
ENDS = ("C", "CC", "CCC", "O", "N", "Cl", "CO", "CN", "C(=O)O", "N#C")
SMILES = tuple(f"{end}{core}" for core in CORES for end in ENDS)
"""60 compounds of 6 scaffolds, ten each."""


def activity(*arguments: object) -> tuple[int, str]:
    """Calls `cellml activity <arguments>`: exit code and output; errors are raised."""
    runner = CliRunner(env={"COLUMNS": "200"})
    result = runner.invoke(activity_app, list(map(str, arguments)))
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def readouts(seed: int = 0) -> np.ndarray:
    """Three assays: of nitrogen, of oxygen, of sulfur and chlorine; a fifth is not tested."""
    rng = np.random.default_rng(seed)
    rules = ("Nn", "Oo", "sl")
    hits = np.array([[any(a in s for a in rule) for rule in rules] for s in SMILES], float)
    return np.where(rng.random(hits.shape) < 0.2, np.nan, hits)


def write_rows(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> Path:
    """Writes a CSV; NaN becomes empty."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(header)
        for row in rows:
            lines.writerow(["" if isinstance(v, float) and np.isnan(v) else v for v in row])
    return path


def read_rows(path: Path) -> list[dict[str, str]]:
    """All lines of a CSV by their column."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def compounds(path: Path, *, fold: bool = True, labels: np.ndarray | None = None) -> Path:
    """Writes SMILES, (fold 0 to 2,) and the three assays A, B, C."""
    labels = readouts() if labels is None else labels
    header = ["smiles", *(["fold"] if fold else []), "A", "B", "C"]
    rows = [
        [s, *([i % 3] if fold else []), *values.tolist()]
        for i, (s, values) in enumerate(zip(SMILES, labels, strict=True))
    ]
    return write_rows(path, header, rows)


def predictions(path: Path, values: np.ndarray, *, rows: Sequence[int] | None = None) -> Path:
    """Writes predictions of some compounds with their fold."""
    rows = range(len(SMILES)) if rows is None else rows
    lines = [[SMILES[i], i % 3, *values[i].tolist()] for i in rows]
    return write_rows(path, ["smiles", "fold", "A", "B", "C"], lines)
