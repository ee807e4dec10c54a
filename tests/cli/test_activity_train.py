"""`cellml activity train` with everything at once: rows, features, duplicates, leaks, spread."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

from cellml.data.assay_tables import read_assays
from cellml.data.fingerprints import structure_fingerprints
from cellml.data.split_files import read_splits
from cellml.errors import UsageError, UserError
from cellml.experiment.activity_data import read_features_of
from cellml.screening.linear import fit_linear
from cellml.tasks.activity_spec import ActivitySpec, Modality
from cellml.weights.store import load_weights, read_description
from tests.cli.compounds import SMILES, activity, read_rows, write_rows

NAMES = ["rings", "length", "oxygen"]
ROWS = ["not-a-molecule", *SMILES[:30], "OCC1CCCCC1", *SMILES[30:], SMILES[0]]
"""The last is a duplicate of one that is held out; that in the middle has no features."""


def features_of(smiles: str) -> list[float]:
    return [smiles.count("1") / 2, len(smiles) - 8.0, 100.0 * smiles.count("O") + 7]


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    rows = [
        [s, i % 3, int("N" in s or "n" in s), "" if i % 5 == 2 else int("O" in s or "o" in s), i]
        for i, s in enumerate(ROWS)
    ]
    write_rows(folder / "shape.csv", ["smiles", *NAMES], [[s, *features_of(s)] for s in SMILES])
    return write_rows(folder / "d.csv", ["smiles", "fold", "A", "B", "weight"], rows)


@pytest.fixture(scope="module")
def run(table, tmp_path_factory) -> tuple[Path, str]:
    out = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:  # one device compiles in a fraction of the time
        patch.setattr(jax, "local_devices", lambda *_, **__: jax.devices()[:1])
        code, text = activity(
            "train", table, "--smiles-column", "smiles", "--targets", "A", "--targets", "B",
            "--split-column", "fold", "--holdout-fold", "1", "--representation", "both",
            "--features", table.parent / "shape.csv", "--no-scale-features", "--leakage-report",
            "--ensemble", 2, "--epochs", 1, "--cache", out / "cache", "--out", out / "run",
            "--set", "model.mpnn.hidden=8", "--set", "model.mpnn.depth=2", "--set",
            "model.hidden=[8]", "--set", "model.fingerprint.size=64", "--set", "model.dropout=0.3",
        )  # fmt: skip
    assert code == 0
    return out, text


def predict(run, table: Path, *options: object) -> list[dict[str, str]]:
    out = table.parent / "predicted.csv"
    activity("predict", table, "--checkpoint", run[0] / "run", "--out", out, *options)
    return read_rows(out)


def test_rows_are_those_of_the_table(run) -> None:
    rows = read_rows(run[0] / "run" / "predictions.csv")
    assert [int(row["row"]) for row in rows] == [i for i in range(1, len(ROWS)) if i % 3 == 1]
    assert all(row["smiles"] == ROWS[int(row["row"])] and row["fold"] == "1" for row in rows)
    (split,) = read_splits(run[0] / "run" / "tested.json", len(ROWS))
    assert split.test.tolist() == [int(row["row"]) for row in rows]
    chosen = read_rows(run[0] / "run" / "validation.csv")
    assert [int(row["row"]) for row in chosen] == split.val.tolist()
    assert {row["run"] for row in chosen} == {"1"}
    assert {*split.train, *split.val} == {i for i in range(len(ROWS)) if i % 3 != 1}


def test_the_linear_baseline_learns_from_the_training_part_alone(run, table) -> None:
    (split,) = read_splits(run[0] / "run" / "tested.json", len(ROWS))
    labels = read_assays(table, targets=["A", "B"]).labels
    prints = structure_fingerprints(ROWS, radius=3, size=4096, chirality=True)
    bits = np.zeros((len(ROWS), 4096), np.uint8)
    bits[prints.rows] = prints.values
    readable = [np.intersect1d(side, prints.rows) for side in (split.train, split.test)]
    train, test = (np.isin(np.arange(len(ROWS)), side) for side in readable)
    expected = fit_linear(bits, labels, train=train, test=test)
    with np.load(run[0] / "run" / "linear.npz") as kept:
        np.testing.assert_allclose(kept["values"], expected, rtol=1e-6)
    assert len(split.val)


def test_a_duplicate_on_both_sides_is_told_with_its_lines(run) -> None:
    assert len(ROWS) % 3 == 0  # the last is in fold 2, the second, which is its like, in fold 1
    assert "note: 1 held-out compound also trained on" in run[1]
    assert f"the first: line 3, {SMILES[0]}, as line {len(ROWS) + 1})" in run[1]
    leak = json.loads((run[0] / "run" / "leakage.json").read_text())
    assert leak["folds"] == ["0", "1", "2"]
    assert leak["identities"]["smiles"]["compounds_shared"] == [0, 1, 1]
    assert list((run[0] / "cache").glob("rdkit-*/*.parquet"))


def test_features_are_taken_as_they_are(run) -> None:
    (path,) = (run[0] / "run").glob("fold_1/model.safetensors")
    scales = load_weights(path)[0]["scales"]
    np.testing.assert_array_equal(scales["feature_mean"], np.zeros((2, 3)))
    np.testing.assert_array_equal(scales["feature_scale"], np.ones((2, 3)))
    assert read_description(path)["spec"]["members"] == 2


def test_features_are_matched_by_their_names(run, tmp_path) -> None:
    rows = [[s, *features_of(s)] for s in SMILES[:3]]
    new = write_rows(tmp_path / "new.csv", ["smiles"], [[row[0]] for row in rows])
    write_rows(tmp_path / "shape.csv", ["smiles", *NAMES], rows)
    turned = [[c, row[0], b, a] for row in rows for a, b, c in [row[1:]]]
    write_rows(tmp_path / "other.csv", [NAMES[2], "smiles", *NAMES[1::-1]], turned)
    plain = predict(run, new, "--features", tmp_path / "shape.csv")
    assert plain == predict(run, new, "--features", tmp_path / "other.csv")
    wrong = write_rows(tmp_path / "bad.csv", ["smiles", "rings", "lenght", "oxygen"], rows)
    message = (
        r"bad.csv: 1 of the 3 features of modality 'shape'.*'length' \(did you mean 'lenght'\?\); "
        "unknown column 'lenght'"
    )
    with pytest.raises(UserError, match=message):
        predict(run, new, "--features", wrong)


def test_dropout_and_members_give_a_spread(run, tmp_path) -> None:
    new = write_rows(tmp_path / "new.csv", ["smiles"], [[s] for s in SMILES[:4]])
    write_rows(tmp_path / "shape.csv", ["s", *NAMES], [["x", *features_of(s)] for s in SMILES[:4]])
    options = ("--features", tmp_path / "shape.csv")
    members = predict(run, new, *options, "--spread")
    sampled = predict(run, new, *options, "--dropout-samples", 8)
    assert list(sampled[0]) == ["smiles", "rejected", "A", "B", "A_sd", "B_sd"]
    assert sampled == predict(run, new, *options, "--dropout-samples", 8)
    for one, two in zip(members, sampled, strict=True):
        assert float(two["A_sd"]) != float(one["A_sd"]) > 0
        assert float(two["A_sd"]) > 0


def test_a_table_without_a_molecule_keeps_its_rows_and_says_why(run, tmp_path) -> None:
    new = write_rows(tmp_path / "new.csv", ["smiles", "n"], [["bad(", 1], ["", 2], ["C%", 3]])
    write_rows(tmp_path / "shape.csv", ["smiles", *NAMES], [["bad(", 1, 2, 3]])
    options = ("--features", tmp_path / "shape.csv")
    rows = predict(run, new, *options)
    assert [row["smiles"] for row in rows] == ["bad(", "", "C%"]
    assert all(row["rejected"] and not row["A"] for row in rows)
    with pytest.raises(UserError, match=r"new.csv, line 2: 'bad\(' is no molecule .*3 such in all"):
        predict(run, new, *options, "--strict")
    table = write_rows(tmp_path / "t.csv", ["smiles", "A"], [["bad(", 1], ["C%", 0]])
    with pytest.raises(UserError, match=r"t.csv, line 2: 'bad\(' is no molecule"):
        activity("train", table, "--preset", "morgan", "--out", tmp_path / "out")


def test_a_column_of_folds_is_not_read_as_smiles_because_it_comes_first(tmp_path) -> None:
    table = write_rows(tmp_path / "t.csv", ["fold", "smiles", "A"], [[0, "C", 1], [1, "N", 0]])
    options = ("--split-column", "fold", "--out", tmp_path / "out", "--preset", "morgan")
    message = "column 'fold' is asked for as folds, but is the first .* --smiles-column names"
    with pytest.raises(UsageError, match=message):
        activity("train", table, *options)
    with pytest.raises(UsageError, match="'fold' is asked for as folds, but is the SMILES"):
        activity("train", table, *options, "--smiles-column", "fold")
    assert not (tmp_path / "out").exists()


def test_features_that_only_number_themselves_go_by_their_count(tmp_path) -> None:
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.savez(tmp_path / "x.npz", values)
    write_rows(tmp_path / "named.csv", NAMES, values.tolist())
    for columns in (("f0", "f1", "f2"), tuple(NAMES)):
        spec = ActivitySpec(
            assays=("A",), representation="features_only", modalities=(Modality("x", columns),)
        )
        for file in ("x.npz", "named.csv"):
            found = read_features_of(spec, [tmp_path / file], ["C", "CC"])
            np.testing.assert_array_equal(found, values)
        with pytest.raises(UserError, match=r"x.npz: 2 rows found, 3 expected"):
            read_features_of(spec, [tmp_path / "x.npz"], ["C", "CC", "CCC"])
        np.savez(tmp_path / "y.npz", values[:, :2])
        with pytest.raises(UserError, match="2 features found, 3 expected as modality 'x'"):
            read_features_of(spec, [tmp_path / "y.npz"], ["C", "CC"])


def test_classes_are_counted_trained_and_scored(tmp_path) -> None:
    rows = [[s, i % 2, sum(c in s for c in "NO")] for i, s in enumerate(SMILES[:40])]
    rows[3][2] = ""
    table = write_rows(tmp_path / "c.csv", ["smiles", "fold", "kind"], rows)
    options = (
        "train", table, "--split-column", "fold", "--holdout-fold", "1", "--kind", "multiclass",
        "--preset", "morgan", "--epochs", 2, "--ensemble", 1, "--set", "model.hidden=[8]",
        "--set", "model.fingerprint.size=64",
    )  # fmt: skip
    code, text = activity(*options, "--out", tmp_path / "run")
    assert code == 0
    n_classes = 1 + max(int(row[2]) for row in rows if row[2] != "")
    names = [f"kind_{k}" for k in range(n_classes)]
    predicted = read_rows(tmp_path / "run" / "predictions.csv")
    assert list(predicted[0]) == ["smiles", "fold", "row", *names]
    total = [sum(float(row[name]) for name in names) for row in predicted]
    np.testing.assert_allclose(total, 1, atol=1e-5)
    facts = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    own = facts["predictors"]["morgan"]["accuracy"]["median_over_folds"]["mean"]
    known = [row for row in predicted if rows[int(row["row"])][2] != ""]
    right = [
        int(np.argmax([float(row[name]) for name in names]) == rows[int(row["row"])][2])
        for row in known
    ]
    assert own == pytest.approx(np.mean(right), abs=1e-6)
    assert "multinomial" in text
    rows[5][2] = 1.5
    write_rows(table, ["smiles", "fold", "kind"], rows)
    with pytest.raises(
        UserError, match=r"c.csv, line 7, column 'kind': found 1.5, expected the nu"
    ):
        activity(*options, "--out", tmp_path / "other")


def test_predicting_imports_nothing_that_only_others_need(imported_by) -> None:
    loaded = imported_by("cellml.commands.activity_predict")
    assert "jax" in loaded
    heavy = {"grain", "matplotlib", "optuna", "orbax", "pandas", "PIL", "scipy", "sklearn"}
    assert not loaded & {*heavy, "tensorflow", "tensorflow_datasets", "tifffile"}
