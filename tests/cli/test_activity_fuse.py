"""`cellml activity fuse` on files of `train`: parts, rows of equal SMILES, nothing learned from."""

from pathlib import Path

import numpy as np
import pytest

from cellml.errors import UserError
from tests.cli.compounds import SMILES, activity, read_rows, readouts, write_rows

HEADER = ["smiles", "row", "part", "A", "B", "C"]
PART = np.array(["train", "val", "test"])[np.arange(60) % 3]


def noisy(seed: int) -> np.ndarray:
    values = np.nan_to_num(readouts(), nan=0.5) + np.random.default_rng(seed).normal(size=(60, 3))
    return 1 / (1 + np.exp(-values))


def training(path: Path, seed: int, smiles: tuple[str, ...] = SMILES) -> Path:
    """The file of a training: all compounds, with the part of each."""
    values = noisy(seed).tolist()
    rows = [[s, i, PART[i], *values[i]] for i, s in enumerate(smiles)]
    return write_rows(path, HEADER, rows)


def test_of_a_training_the_test_part_is_joined_and_the_validation_part_learned_from(tmp_path):
    smiles = (*SMILES[:59], SMILES[1])  # row 59 is tested, and row 1 validates: the same compound
    files = [
        training(tmp_path / f"{name}.csv", seed, smiles) for name, seed in (("a", 0), ("b", 1))
    ]
    out = tmp_path / "mean.csv"
    activity("fuse", *files, "--rule", "mean", "--out", out)
    rows = read_rows(out)
    assert [int(row["row"]) for row in rows] == np.flatnonzero(PART == "test").tolist()
    expected = (noisy(0) + noisy(1))[PART == "test"] / 2
    found = [[float(row[name]) for name in "ABC"] for row in rows]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    truth = write_rows(
        tmp_path / "t.csv",
        ["smiles", "A", "B", "C"],
        [[s, *values] for s, values in zip(smiles, readouts().tolist(), strict=True)],
    )
    options = [
        *("--validation", files[0], "--validation", files[1], "--truth", truth),
        *("--rule", "stacking", "--out"),
    ]
    activity("fuse", *files, *options, tmp_path / "s.csv")
    changed = readouts()
    changed[PART != "val"] = 1 - changed[PART != "val"]
    write_rows(
        truth,
        ["smiles", "A", "B", "C"],
        [[s, *values] for s, values in zip(smiles, changed.tolist(), strict=True)],
    )
    activity("fuse", *files, *options, tmp_path / "again.csv")
    assert (tmp_path / "s.csv").read_bytes() == (tmp_path / "again.csv").read_bytes()


def test_stacking_refuses_compounds_that_it_joins(tmp_path):
    values, pair = noisy(0), {}
    for name in ("a", "b"):
        lines = [[s, *row] for s, row in zip(SMILES, values.tolist(), strict=True)]
        pair[name] = write_rows(tmp_path / f"{name}.csv", ["smiles", "A", "B", "C"], lines[:30])
        write_rows(tmp_path / f"v{name}.csv", ["smiles", "A", "B", "C"], lines[29:])
    truth = write_rows(
        tmp_path / "t.csv",
        ["smiles", "A", "B", "C"],
        [[s, *row] for s, row in zip(SMILES, readouts().tolist(), strict=True)],
    )
    with pytest.raises(UserError, match=r"va.csv, line 2 of its .*would learn from what it pred"):
        activity(
            "fuse", *pair.values(), "--rule", "stacking", "--truth", truth,
            "--validation", f"a={tmp_path}/va.csv", "--validation", f"b={tmp_path}/vb.csv",
            "--out", tmp_path / "o.csv",
        )  # fmt: skip
    assert not (tmp_path / "o.csv").exists()


def test_a_file_without_the_part_is_refused(tmp_path):
    rows = [[s, i, "train", 0.5, 0.5, 0.5] for i, s in enumerate(SMILES)]
    bad = write_rows(tmp_path / "bad.csv", HEADER, rows)
    with pytest.raises(UserError, match=r"column 'part': no compound of part 'test', found train"):
        activity("fuse", bad, training(tmp_path / "b.csv", 1), "--out", tmp_path / "o.csv")
