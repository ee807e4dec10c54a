"""`cellml activity train` and `predict`: folds in turn, rows kept in order, errors named."""

import csv
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from cellml.cli import app, spread_lists
from cellml.errors import UsageError
from cellml.train import checkpoint

SMILES = [
    "CCO", "CCN", "CCC", "CCCl", "CCBr", "c1ccccc1", "c1ccccc1O", "c1ccccc1N", "CC(=O)O", "CC(=O)N",
    "C1CCCCC1", "C1CCCCC1O", "CCOC", "CCSC", "CNC", "CC#N", "C=CC", "OCCO", "NCCN", "c1ccncc1",
]  # fmt: skip
TINY = (
    "--preset", "morgan", "--epochs", "2", "--ensemble", "2", "--set", "model.hidden=[8]",
    "--set", "model.fingerprint.size=64", "--set", "train.batch_size=8",
)  # fmt: skip


def activity(*arguments):
    result = CliRunner().invoke(app, ["activity", *map(str, arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "assays.csv"
    rows = ["smiles,has_o,has_n,fold"]
    for i, smiles in enumerate(SMILES):
        has_n = "" if i % 7 == 3 else int("n" in smiles.lower())
        rows.append(f"{smiles},{int('O' in smiles)},{has_n},{i % 2}")
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture(scope="module")
def run(table, tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    code, text = activity("train", table, "--split-column", "fold", "--out", out, *TINY)
    assert code == 0
    assert "linear" in text
    return out


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_compound_is_predicted_once_by_the_model_that_has_not_seen_its_fold(run):
    rows = read(run / "predictions.csv")
    assert sorted(row["smiles"] for row in rows) == sorted(SMILES)
    for row in rows:
        assert row["fold"] == str(SMILES.index(row["smiles"]) % 2)
        assert 0 <= float(row["has_o"]) <= 1
    for fold in ("0", "1"):
        parts = {row["smiles"]: row["part"] for row in read(run / f"fold_{fold}" / "split.csv")}
        for i, smiles in enumerate(SMILES):
            assert (parts[smiles] == "test") == (str(i % 2) == fold)
        assert set(parts.values()) == {"train", "val", "test"}
    facts = json.loads((run / "evaluation.json").read_text())
    assert facts["assays"] == 2
    assert {"morgan", "linear"} == set(facts["predictors"])


def test_a_finished_run_is_not_trained_again(run, table):
    steps = {fold: checkpoint.steps(run / f"fold_{fold}") for fold in "01"}
    before = (run / "predictions.csv").read_bytes()
    assert activity("train", table, "--split-column", "fold", "--out", run, *TINY)[0] == 0
    assert {fold: checkpoint.steps(run / f"fold_{fold}") for fold in "01"} == steps
    assert (run / "predictions.csv").read_bytes() == before


def test_predictions_keep_the_order_and_say_why_a_row_has_none(run, tmp_path):
    (tmp_path / "new.csv").write_text("name,smiles\na,CCO\nb,nonsense\nc,c1ccccc1O\n")
    out = tmp_path / "predicted.csv"
    code, text = activity(
        "predict", tmp_path / "new.csv", "--smiles-column", "smiles", "--checkpoint", run,
        "--out", out, "--spread",
    )  # fmt: skip
    assert code == 0
    assert "3 compounds, 1 without prediction" in text
    rows = read(out)
    assert [row["smiles"] for row in rows] == ["CCO", "nonsense", "c1ccccc1O"]
    assert rows[1]["rejected"]
    assert rows[1]["has_o"] == ""
    assert not rows[0]["rejected"]
    one = [
        read_one(run, fold, tmp_path, "CCO") for fold in "01"
    ]  # the models of the folds are averaged
    assert float(rows[0]["has_o"]) == pytest.approx(np.mean(one), abs=1e-5)
    assert float(rows[0]["has_o_sd"]) > 0


def read_one(run, fold, folder, smiles):
    (folder / "one.csv").write_text(f"smiles\n{smiles}\n")
    checkpoint = run / f"fold_{fold}"
    activity("predict", folder / "one.csv", "--checkpoint", checkpoint, "--out", folder / "o.csv")
    return float(read(folder / "o.csv")[0]["has_o"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--split-column", "fold", "--holdout-fold", "7"), "--holdout-fold 7: found 0, 1"),
        (("--split-column", "fold", "--split", "random"), "exclude each other"),
        (("--preset", "best"), "unknown 'best'; known: chemprop_v1"),
        (("--features-only",), "--features FILE expected"),
        (("--representation", "voice"), "unknown 'voice'"),
        (("--set", "model.x=1"), "--set model.x=1: no such entry"),
    ],
)
def test_wrong_options_are_named(table, tmp_path, options, message):
    with pytest.raises(UsageError, match=message):
        activity("train", table, "--out", tmp_path / "x", *options)


def test_no_model_is_said(table, tmp_path):
    with pytest.raises(UsageError, match=r"no model\.safetensors in it; train first"):
        activity("predict", table, "--checkpoint", tmp_path, "--out", tmp_path / "o.csv")


def test_several_values_may_follow_an_option():
    given = ["activity", "train", "d.csv", "--targets", "a", "b", "--out", "x", "--features", "f"]
    assert spread_lists(given) == [
        "activity", "train", "d.csv", "--targets", "a", "--targets", "b", "--out", "x",
        "--features", "f",
    ]  # fmt: skip
    assert spread_lists(["segment", "--targets", "a", "b"]) == ["segment", "--targets", "a", "b"]


def test_arguments_after_a_list_are_no_values_of_it() -> None:
    given = ["activity", "evaluate", "--targets", "a", "b", "CS=cs.csv", "MO=mo.csv"]
    assert spread_lists(given) == [
        *("activity", "evaluate", "--targets", "a", "--targets", "b"),
        *("CS=cs.csv", "MO=mo.csv"),
    ]


def test_values_are_scored_beside_a_ridge_regression(tmp_path) -> None:
    table = tmp_path / "values.csv"
    rows = [f"{smiles},{len(smiles) + 0.5},{i % 2}" for i, smiles in enumerate(SMILES)]
    table.write_text("\n".join(["smiles,length,fold", *rows]) + "\n")
    options = ("--split-column", "fold", "--holdout-fold", "1", "--kind", "regression")
    code, text = activity("train", table, *options, "--out", tmp_path / "run", *TINY)
    assert code == 0
    assert "ridge regression" in text
    found = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    predicted = read(tmp_path / "run" / "predictions.csv")
    error = [float(row["length"]) - len(row["smiles"]) - 0.5 for row in predicted]
    rmse = found["predictors"]["morgan"]["rmse"]["median_over_folds"]["mean"]
    np.testing.assert_allclose(rmse, np.sqrt(np.mean(np.square(error))), rtol=1e-5)
