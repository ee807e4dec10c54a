"""Commands on compounds that are nearly right: what is missing is said, or done with a note."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from cellml.commands import activity_train
from cellml.commands.activity_inputs import CompoundSource
from cellml.commands.activity_train import TrainOptions, make_plan, write_plan
from cellml.data.compound_features import read_features
from cellml.data.text_tables import read_text_table
from cellml.errors import UsageError, UserError
from cellml.experiment.activity import activity_spec
from cellml.experiment.activity_presets import PRESETS, smoke
from cellml.tasks.activity_models import from_chemprop
from tests.cli.compounds import SMILES, activity, compounds, predictions, read_rows, write_rows

QUIET = Console(quiet=True)


def plan(table, out, **options):
    """What `cellml activity train` is going to do."""
    given = TrainOptions(CompoundSource(table), out, preset="morgan", **options)
    activity_train.check_options(given)
    return make_plan(given, QUIET)


def test_a_split_in_folds_has_five_without_a_number(tmp_path, capsys):
    table = compounds(tmp_path / "t.csv", fold=False)
    options = TrainOptions(CompoundSource(table), tmp_path / "out", split="scaffold")
    found = make_plan(options, Console(soft_wrap=True))
    assert "note: --split scaffold makes folds, 5 without --folds" in capsys.readouterr().out
    assert list(found.configs) == [f"fold_{i}" for i in range(5)]
    assert not (tmp_path / "out").exists()
    assert list(plan(table, tmp_path / "out", split="random").configs) == ["model"]
    assert len(plan(table, tmp_path / "out", split="random", folds=3).configs) == 3
    with pytest.raises(UsageError, match=r"unknown 'column'; known: scaffold, .*--split-column"):
        activity("train", table, "--split", "column", "--out", tmp_path / "out")
    with pytest.raises(UsageError, match="scaffold_balanced makes parts: --folds go with"):
        activity("train", table, "--split", "scaffold_balanced", "--folds", 3, "--out", tmp_path)


def test_profiles_are_clustered_into_folds(tmp_path):
    table = compounds(tmp_path / "t.csv", fold=False)
    rows = [[s, i % 3 * 50 + i / 100, i % 3] for i, s in enumerate(SMILES)]
    profile = write_rows(tmp_path / "mo.csv", ["smiles", "x", "y"], rows)
    found = plan(table, tmp_path / "out", split="kmeans", folds=3, features=[profile])
    write_plan(found, QUIET)
    assert found.folds is not None
    sides = [set(np.flatnonzero(found.folds.fold == fold) % 3) for fold in range(3)]
    assert sorted(map(list, sides)) == [[0], [1], [2]]
    (one,) = json.loads((tmp_path / "out" / "splits" / "1.json").read_text())
    assert set(one["test"]) == set(np.flatnonzero(found.folds.fold == 1).tolist())
    for features in ((), (profile, profile)):
        with pytest.raises(UsageError, match=rf"--split kmeans: {len(features)} files of"):
            plan(table, tmp_path / "out", split="kmeans", folds=3, features=features)


def test_a_column_of_folds_that_is_there_is_to_be_named(tmp_path):
    table = compounds(tmp_path / "t.csv")
    message = "has a column 'fold' already: rename it, or give --split-column fold instead"
    for options in (("--split", "scaffold", "--folds", 5), ("--folds", 3)):
        with pytest.raises(UsageError, match=message):
            activity("train", table, *options, "--out", tmp_path / "out")


def test_the_documented_report_needs_no_single(tmp_path):
    rng = np.random.default_rng(0)
    table = compounds(tmp_path / "t.csv")
    names = ("CS", "MO", "late", "both")
    files = [predictions(tmp_path / f"{n}.csv", rng.random((60, 3)).round(3)) for n in names]
    activity("evaluate", *files, "--truth", table, "--split-column", "fold", "--no-baseline",
             "--out", tmp_path / "sc")  # fmt: skip
    scores, out = tmp_path / "sc" / "assays.csv", tmp_path / "rep"
    options = ("report", scores, "--fusion", "CS+MO=late", "--early", "CS+MO=both", "--out", out)
    assert activity(*options)[0] == 0
    found = json.loads((out / "report.json").read_text())
    assert set(found["predictors"]) == {"CS", "MO", "CS+MO, late", "CS+MO, early"}
    assert set(found["overlap"]["0.7"]) <= {"CS", "MO", "CS & MO"}
    with pytest.raises(UsageError, match="'late': --single and --fusion or --early exclude"):
        activity(*options, "--single", "CS", "--single", "MO", "--single", "late")


def test_a_first_column_that_holds_no_molecule_is_not_taken_for_smiles(tmp_path, monkeypatch):
    table = write_rows(tmp_path / "new.csv", ["id", "n", "SMILES"], [["x1", 1, "CCO"]])
    spec = SimpleNamespace(spec=activity_spec(smoke(PRESETS["morgan"]()), ("A",), ()))
    monkeypatch.setattr("cellml.commands.activity_predict.load_models", lambda _: [spec])
    message = r"no row of column 'id' .*line 2: 'x1', .*a column 'SMILES': give --smiles-column SM"
    with pytest.raises(UsageError, match=message):
        activity("predict", table, "--checkpoint", tmp_path, "--out", tmp_path / "o.csv")
    assert not (tmp_path / "o.csv").exists()


def test_values_of_smiles_are_repeated(tmp_path):
    message = "--smiles is repeated for every compound, as --smiles CCO --smiles c1ccccc1O"
    with pytest.raises(UsageError, match=message):
        activity("explain", "--smiles", "CCO", "c1ccccc1O", "--checkpoint", tmp_path, "--out",
                 tmp_path / "o")  # fmt: skip


def test_every_fingerprint_has_its_own_rejected_rows(tmp_path):
    for name, bad in (("a", "C1CC"), ("b", "N1NN")):
        table = write_rows(tmp_path / "t.csv", ["smiles"], [["CCO"], [bad]])
        _, text = activity("fingerprint", table, "--out", tmp_path / f"{name}.npz", "--size", 32)
        assert f"{name}_rejected.csv" in text
    (first,), (second,) = (read_rows(tmp_path / f"{name}_rejected.csv") for name in "ab")
    assert (first["smiles"], second["smiles"]) == ("C1CC", "N1NN")
    assert not (tmp_path / "rejected.csv").exists()


def test_semicolons_are_told(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("smiles;A\nCCO;0,5\n")
    for read in (read_text_table, lambda path: read_features(path, ["CCO"])):
        with pytest.raises(UserError, match=r"t\.csv: one column 'smiles;A' found: .*semicolons"):
            read(table)


def test_a_checkpoint_that_was_cut_short_is_called_damaged(tmp_path):
    for content, message in (
        (b"PK\x03\x04" + bytes(200), "damaged: the end of the checkpoint"),
        (b"\x80\x02" + bytes(200), r"of an older version is converted"),
    ):
        (tmp_path / "m.pt").write_bytes(content)
        with pytest.raises(ValueError, match=message):
            from_chemprop(tmp_path / "m.pt")
