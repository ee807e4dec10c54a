"""`cellml activity train --preset tanimoto`: trained in closed form, used as any other model."""

import json

import numpy as np
import pytest
from rdkit import Chem, DataStructs
from rdkit.Chem import rdFingerprintGenerator

from cellml import experiment
from cellml.errors import UsageError
from cellml.experiment.activity_presets import tanimoto
from cellml.weights.store import load_weights, read_description
from tests.cli.compounds import SMILES, activity, read_rows, write_rows

OPTIONS = (
    "--preset", "tanimoto", "--set", "model.fingerprint.counts=false", "--set",
    "model.fingerprint.size=512", "--set", "model.fingerprint.kinds=morgan", "--set",
    "kernel.sharings=[0,1]",
)  # fmt: skip


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    rows = [
        [s, i % 3, int("N" in s or "n" in s), "" if i % 5 == 2 else int("O" in s), s.count("C") / 3]
        for i, s in enumerate(["no-molecule", *SMILES])
    ]
    folder = tmp_path_factory.mktemp("data")
    return write_rows(folder / "d.csv", ["smiles", "fold", "A", "B", "carbons"], rows)


@pytest.fixture(scope="module")
def run(table, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "run"
    code, _ = activity(
        "train", table, "--targets", "A", "--targets", "B", "--split-column", "fold", "--out", out,
        *OPTIONS,
    )  # fmt: skip
    assert code == 0
    return out


def test_held_out_compounds_are_predicted_better_than_by_chance(run) -> None:
    facts = json.loads((run / "evaluation.json").read_text())["predictors"]
    assert facts["tanimoto"]["auroc"]["mean_of_folds"] > 0.65
    assert len(read_rows(run / "predictions.csv")) == len(SMILES)


def test_predictions_follow_from_the_file_by_rdkits_similarity(run, table) -> None:
    path = run / "fold_1" / "model.safetensors"
    variables, description = load_weights(path)
    machine = variables["params"]["network"]
    split = read_rows(run / "fold_1" / "split.csv")
    learned = [row["smiles"] for row in split if row["part"] in ("train", "val")]
    learned = [text for text in learned if Chem.MolFromSmiles(text)]
    assert machine["compounds"].shape == (1, len(learned), 512 // 8)
    fingerprint = description["spec"]["fingerprint"]
    make = rdFingerprintGenerator.GetMorganGenerator(
        radius=fingerprint["radius"], fpSize=512, includeChirality=True
    ).GetFingerprint
    theirs = [make(Chem.MolFromSmiles(text)) for text in learned]
    rows = [row for row in read_rows(run / "predictions.csv") if row["fold"] == "1"]
    assert rows
    own = {row["smiles"] for row in read_rows(run / "validation.csv") if row["run"] == "1"}
    assert own
    assert own <= set(learned)
    rows += [row for row in read_rows(run / "validation.csv") if row["run"] == "1"]
    for row in rows:
        mine = make(Chem.MolFromSmiles(row["smiles"]))
        similar = np.array(DataStructs.BulkTanimotoSimilarity(mine, theirs))
        logit = similar @ machine["weights"] + machine["offset"]
        found = [float(row[name]) for name in ("A", "B")]
        if row["smiles"] in own:  # predicted without their scaffold
            assert np.abs(found - 1 / (1 + np.exp(-logit))).max() > 1e-3
        else:
            np.testing.assert_allclose(found, 1 / (1 + np.exp(-logit)), atol=1e-4)
    chosen = read_description(path)["card"]["chosen"]
    assert chosen["penalty"] == 10
    assert chosen["sharing"] in (0, 1)
    assert chosen["scale"] >= 0


def test_trained_again_it_is_the_same_file_and_predicts_new_tables(run, table, tmp_path) -> None:
    path = run / "fold_0" / "model.safetensors"
    before = path.read_bytes()
    activity(
        "train", table, "--targets", "A", "--targets", "B", "--split-column", "fold", "--out", run,
        *OPTIONS,
    )  # fmt: skip
    assert path.read_bytes() == before
    out = tmp_path / "new.csv"
    activity("predict", table, "--checkpoint", path, "--out", out)
    rows = read_rows(out)
    assert [row["smiles"] for row in rows] == ["no-molecule", *SMILES]
    assert rows[0]["rejected"]
    assert not rows[0]["A"]
    held_out = {r["smiles"]: r["A"] for r in read_rows(run / "predictions.csv") if r["fold"] == "0"}
    for row in rows:
        if row["smiles"] in held_out:
            assert float(row["A"]) == pytest.approx(float(held_out[row["smiles"]]), abs=1e-5)


def test_atoms_are_made_responsible_where_the_fingerprint_knows_them(run, table, tmp_path) -> None:
    path = run / "fold_1" / "model.safetensors"
    options = ("--assay", "A", "--out", tmp_path / "explained")
    code, text = activity("explain", table, "--checkpoint", path, *options)
    assert code == 0
    assert "completeness error" in text
    config = tanimoto()
    config.data.update(path=str(table), targets=("A",))
    config.data.split.scheme = "none"
    experiment.run(config, tmp_path / "pairs")
    with pytest.raises(UsageError, match=r"fingerprint is morgan\+atom_pair\+torsion"):
        activity("explain", table, "--checkpoint", tmp_path / "pairs", *options)


def test_real_readouts_come_back_in_their_unit(table, tmp_path) -> None:
    activity(
        "train", table, "--targets", "carbons", "--kind", "regression", "--split", "random",
        "--out", tmp_path / "run", *OPTIONS,
    )  # fmt: skip
    rows = read_rows(tmp_path / "run" / "model" / "predictions.csv")
    truth = [text.count("C") / 3 for text in SMILES]
    found = {row["smiles"]: float(row["carbons"]) for row in rows}
    assert np.corrcoef([found[s] for s in SMILES], truth)[0, 1] > 0.8
    assert abs(np.mean(list(found.values())) - np.mean(truth)) < 0.3


def test_without_validation_all_compounds_train(table, tmp_path) -> None:
    config = tanimoto()
    config.data.update(path=str(table), targets=("A",))
    config.data.split.scheme = "none"
    experiment.run(config, tmp_path)
    variables, _ = load_weights(tmp_path / "model.safetensors")
    machine = variables["params"]["network"]
    assert machine["compounds"].shape[1] == len(SMILES)
    assert (np.abs(machine["weights"]) > 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--representation", "graph"), "tanimoto goes with --preset tanimoto"),
        (("--epochs", "3"), "--preset tanimoto takes no steps"),
        (("--ensemble", "2"), "structures alone, one member"),
        (("--set", "train.best=mean_rmse"), "mean_rmse' is no score of kind 'binary'"),
        (("--set", "kernel.penalties=[0]"), "penalties above 0"),
        (("--set", "kernel.leave_out=atom"), "found 'atom', one of scaffold, compound expected"),
    ],
)
def test_what_does_not_fit_is_refused(table, tmp_path, options, message) -> None:
    with pytest.raises(UsageError, match=message):
        activity(
            "train", table, "--targets", "A", "--split", "random", "--out", tmp_path / "run",
            *OPTIONS, *options,
        )  # fmt: skip
    with pytest.raises(UsageError, match="tanimoto goes with --preset tanimoto"):
        activity("train", table, "--representation", "tanimoto", "--out", tmp_path / "run")
    with pytest.raises(UsageError, match="chooses its own settings"):
        activity("tune", table, "--preset", "tanimoto", "--out", tmp_path / "tuned")
