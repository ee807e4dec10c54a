"""`cellml activity train` and `tune` in a folder that holds a run: the same data, or a refusal."""

import json
import shutil

import jax
import numpy as np
import pytest

from cellml import experiment
from cellml.data.split_files import CompoundSplit, write_splits
from cellml.errors import UsageError, UserError
from cellml.experiment.activity_presets import PRESETS
from tests.cli.compounds import SMILES, activity, read_rows, readouts, write_rows

MORGAN = (
    "--preset", "morgan", "--epochs", 1, "--ensemble", 1, "--no-baseline", "--set",
    "model.hidden=[8]", "--set", "model.fingerprint.size=64", "--targets", "A", "--targets", "B",
)  # fmt: skip
KERNEL = (
    "--preset", "tanimoto", "--no-baseline", "--set", "model.fingerprint.size=256", "--set",
    "model.fingerprint.kinds=morgan", "--set", "kernel.sharings=[0]", "--targets", "A",
    "--targets", "B",
)  # fmt: skip
FOLD = ("--split-column", "fold", "--holdout-fold", "1")


def write_table(path, *, folds=None, labels=None, smiles=SMILES):
    folds = [i % 3 for i in range(len(SMILES))] if folds is None else folds
    labels = readouts() if labels is None else labels
    rows = [[s, f, *row[:2]] for s, f, row in zip(smiles, folds, labels.tolist(), strict=True)]
    return write_rows(path, ["smiles", "fold", "A", "B"], rows)


def write_profile(path, *, seed=0):
    values = np.random.default_rng(seed).normal(size=(len(SMILES), 2)).round(3).tolist()
    return write_rows(
        path, ["smiles", "x", "y"], [[s, *v] for s, v in zip(SMILES, values, strict=True)]
    )


def content(folder):
    """Bytes of all files but the journal of a search, which notes when it was opened."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "journal.log"]
    return {path: path.read_bytes() for path in files}


@pytest.fixture(scope="module", autouse=True)
def _one_device():
    with pytest.MonkeyPatch.context() as patch:  # which compiles in a fraction of the time
        patch.setattr(jax, "local_devices", lambda *_, **__: jax.devices()[:1])
        yield


@pytest.fixture(scope="module", params=["morgan", "tanimoto"])
def run(request, tmp_path_factory):
    """A finished run, and the options that made it."""
    folder = tmp_path_factory.mktemp("run")
    table = write_table(folder / "t.csv")
    options = MORGAN if request.param == "morgan" else KERNEL
    if request.param == "morgan":
        options = (*options, "--features", write_profile(folder / "mo.csv"))
    assert activity("train", table, "--out", folder / "out", *FOLD, *options)[0] == 0
    return folder, options


def changed_tables():
    labels = readouts()
    labels[3, 0] = 1 - np.nan_to_num(labels[3, 0])
    turned = [*SMILES[1::-1], *SMILES[2:]]
    return {
        "split": {"folds": [i // 2 % 3 for i in range(len(SMILES))]},
        "readouts": {"labels": labels},
        "SMILES": {"smiles": turned},
    }


@pytest.mark.parametrize("what", ["split", "readouts", "SMILES"])
def test_a_table_changed_in_place_is_refused_and_nothing_is_written(run, what):
    folder, options = run
    try:
        before = content(folder / "out")
        write_table(folder / "t.csv", **changed_tables()[what])
        message = f"out/fold_1: trained on other data than .*t.csv .*: other .*{what}.*--out"
        with pytest.raises(UsageError, match=message):
            activity("train", folder / "t.csv", "--out", folder / "out", *FOLD, *options)
        assert content(folder / "out") == before
    finally:
        write_table(folder / "t.csv")


def test_changed_profiles_are_refused(run):
    folder, options = run
    if "tanimoto" in options:
        pytest.skip("takes no profiles")
    before = content(folder / "out")
    write_profile(folder / "mo.csv", seed=1)
    try:
        with pytest.raises(UsageError, match=r"other features; use another --out, or delete"):
            activity("train", folder / "t.csv", "--out", folder / "out", *FOLD, *options)
    finally:
        write_profile(folder / "mo.csv")
    assert content(folder / "out") == before


def test_files_may_move_and_be_called_otherwise(run, tmp_path):
    folder, options = run
    shutil.copytree(folder / "out", tmp_path / "moved")
    shutil.copy(folder / "t.csv", tmp_path / "renamed.csv")
    if "--features" in options:
        shutil.copy(folder / "mo.csv", tmp_path / "profiles.csv")
        options = tuple(tmp_path / "profiles.csv" if o == folder / "mo.csv" else o for o in options)
    model = (tmp_path / "moved" / "fold_1" / "model.safetensors").read_bytes()
    scores = read_rows(tmp_path / "moved" / "predictions.csv")
    code, _ = activity("train", tmp_path / "renamed.csv", "--out", tmp_path / "moved", *FOLD,
                       *options)  # fmt: skip
    assert code == 0
    if "tanimoto" not in options:  # whose file holds the new paths: it takes no steps to keep
        assert (tmp_path / "moved" / "fold_1" / "model.safetensors").read_bytes() == model
    assert read_rows(tmp_path / "moved" / "predictions.csv") == scores


def test_a_run_that_did_not_note_its_data_does_not_go_on(run):
    folder, options = run
    note = folder / "out" / "fold_1" / "trained_on.json"
    text = note.read_text()
    assert set(json.loads(text)) == {"compounds", "readouts", "split", "features"}
    again = ("train", folder / "t.csv", "--out", folder / "out", *FOLD, *options)
    try:
        note.write_text("[1]")
        with pytest.raises(UserError, match=r"trained_on\.json: found \[1\], entries"):
            activity(*again)
        note.unlink()
        if "tanimoto" in options:  # is made anew in any case
            assert activity(*again)[0] == 0
        else:
            with pytest.raises(UsageError, match=r"did not note what .*on\.json is missing"):
                activity(*again)
    finally:
        note.write_text(text)


def test_other_settings_are_refused_before_the_splits_are_written(tmp_path):
    rows = [[s, *values] for s, values in zip(SMILES, readouts().tolist(), strict=True)]
    table = write_rows(tmp_path / "t.csv", ["smiles", "A", "B", "C"], rows)
    folds = ("--folds", 3, "--split", "random", "--holdout-fold", "2")
    options = ("train", table, "--out", tmp_path / "out", *MORGAN, *folds)
    assert activity(*options)[0] == 0
    before = content(tmp_path / "out")
    assert tmp_path / "out" / "split" / "split.csv" in before
    with pytest.raises(UserError, match="config entry seed: expected 5"):
        activity(*options, "--seed", 5)
    with pytest.raises(UserError, match=r"config entry model\.dropout"):
        activity(*options, "--set", "model.dropout=0.1")
    kernel = ("train", table, "--out", tmp_path / "kernel", *KERNEL, *folds)
    assert activity(*kernel)[0] == 0
    kept = content(tmp_path / "kernel")
    with pytest.raises(UsageError, match="other split; use another --out"):
        activity(*kernel, "--seed", 5)  # draws other folds
    assert content(tmp_path / "kernel") == kept
    assert content(tmp_path / "out") == before
    assert activity(*options)[0] == 0


def test_a_stopped_run_goes_on_with_the_same_data_alone(tmp_path, monkeypatch):
    table = write_table(tmp_path / "t.csv")
    config = PRESETS["morgan"]()
    config.data.update(path=str(table), targets=("A", "B"), ignore=("fold",))
    config.model.update(hidden=(8,), members=1)
    config.model.fingerprint.size = 64
    rows = np.arange(len(SMILES))
    sides = [rows[rows % 3 == k] for k in range(3)]
    config.data.split.update(scheme="file", file=str(tmp_path / "s.json"))
    config.train.update(epochs=3, checkpoint_every_epochs=1, batch_size=16)

    def stop(*_):
        raise RuntimeError("power failure")

    with monkeypatch.context() as patch:
        patch.setattr("cellml.experiment.activity._write_results", stop)
        write_splits(tmp_path / "s.json", [CompoundSplit(*sides)])
        with pytest.raises(RuntimeError, match="power failure"):
            experiment.run(config, tmp_path / "out")
    write_splits(tmp_path / "s.json", [CompoundSplit(*sides[::-1])])
    with pytest.raises(UsageError, match="other split"):
        experiment.run(config, tmp_path / "out")
    write_splits(tmp_path / "elsewhere.json", [CompoundSplit(*sides)])
    config.data.split.file = str(tmp_path / "elsewhere.json")
    experiment.run(config, tmp_path / "out")
    assert (tmp_path / "out" / "scores.json").is_file()


def test_trials_of_other_data_are_not_kept(tmp_path):
    table, profile = write_table(tmp_path / "t.csv"), write_profile(tmp_path / "mo.csv")
    options = ("--preset", "morgan", "--epochs", 1, "--set", "model.fingerprint.size=32", "--set",
               "train.best=loss", "--range", "hidden=8:16:8", "--trials", 1, "--inner-split",
               "random")  # fmt: skip
    out = tmp_path / "out"
    again = ("--out", out, *FOLD, *options)
    assert activity("tune", table, *again, "--features", profile)[0] == 0
    before = content(out)
    for what, changes in changed_tables().items():
        write_table(table, **changes)
        message = f"out/fold_1 holds a search on other data: other .*{what}"
        with pytest.raises(UsageError, match=message):
            activity("tune", table, *again, "--features", profile)
    write_table(table)
    write_profile(profile, seed=1)
    with pytest.raises(UsageError, match="on other data: other features; use another --out"):
        activity("tune", table, *again, "--features", profile)
    with pytest.raises(UsageError, match=r"with other settings \(config\.seed: 0 then, 4 now"):
        activity("tune", table, *again, "--features", profile, "--seed", 4)
    assert content(out) == before
    shutil.copy(table, tmp_path / "renamed.csv")
    write_profile(tmp_path / "profiles.csv")
    code, text = activity("tune", tmp_path / "renamed.csv", *again, "--features",
                          tmp_path / "profiles.csv")  # fmt: skip
    assert code == 0
    assert "kept" in text
