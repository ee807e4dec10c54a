"""`cellml activity tune`: what is held out stays unseen, searches resume, the best is handed on."""

import csv
import json
import math
import shlex
import signal
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict

import cellml.cli_activity_models  # noqa: F401 (registers the commands)
from cellml.commands import activity_train
from cellml.commands.activity_tune import TuneOptions
from cellml.commands.config_changes import change_config
from cellml.data.assay_tables import read_assays
from cellml.data.split_files import read_splits
from cellml.data.writers import write_json
from cellml.errors import UsageError, UserError
from cellml.experiment import activity_search, activity_split
from cellml.experiment.activity_presets import PRESETS
from cellml.experiment.activity_search import Search
from cellml.experiment.activity_space import SPACE, changed, settings_of, space_of
from cellml.screening.splits import TEST
from cellml.train.loop import NonFiniteError, TrainingInterrupted
from tests.cli.compounds import SMILES, activity, readouts, write_rows

TINY = (
    "--preset", "morgan", "--set", "model.fingerprint.size=32", "--range", "hidden=8:24:8",
    "--inner-split", "random",
)  # fmt: skip
DATA = {"compounds": "a", "readouts": "b", "split": "c", "features": "d"}
FOLD = ("--split-column", "fold", "--holdout-fold", "1")


def table(path: Path, *, poisoned: bool = False) -> Path:
    """Three folds by scaffold; poisoned, fold 1 holds other compounds with other readouts."""
    labels = readouts()
    rows = []
    for i, smiles in enumerate(SMILES):
        fold = i // 10 % 3
        own = ["" if math.isnan(value) else int(value) for value in labels[i]]
        if poisoned and fold == 1:
            smiles, own = f"BrCC{smiles}", [int(value != 1) for value in labels[i]]
        rows.append([smiles, *own, fold])
    return write_rows(path, ["smiles", "n", "o", "s", "fold"], rows)


def pretend(config: ConfigDict, workdir: Path, *, watch) -> None:
    """A training whose scores follow from the settings and from all readouts that it may see."""
    seen = read_assays(Path(config.data.path), targets=list(config.data.targets))
    (sides,) = read_splits(Path(config.data.split.file), len(seen.smiles))
    rows = np.concatenate(sides)
    sum_seen = float(np.nansum(seen.labels[rows])) + sum(len(seen.smiles[i]) for i in rows.tolist())
    score = 0.5 + 0.01 * len(config.model.hidden) - config.model.dropout / 9 + sum_seen * 1e-5
    for epoch in range(config.train.epochs):
        watch({"mean_auroc": score * (1 - 0.5**epoch), "loss": 1.0})
    workdir.mkdir(parents=True)
    (workdir / "model.safetensors").write_text("large")
    write_json(workdir / "scores.json", {"test": {"mean": {"mean_auroc": score, "loss": 1.0}}})


@pytest.fixture
def pretended(monkeypatch):
    """Trainings take no time."""
    monkeypatch.setattr(activity_search, "train_activity", pretend)
    return monkeypatch


def tune(data: Path, out: Path, *options: object) -> tuple[int, str]:
    return activity("tune", data, "--out", out, *FOLD, *TINY, *options)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_what_is_held_out_is_never_seen(pretended, tmp_path) -> None:
    clean, poisoned = table(tmp_path / "a.csv"), table(tmp_path / "b.csv", poisoned=True)

    def outcome(data: Path, out: Path) -> bytes:
        assert tune(data, out, "--trials", 3)[0] == 0
        return (out / "fold_1" / "trials.csv").read_bytes()

    expected = outcome(clean, tmp_path / "clean")
    assert outcome(poisoned, tmp_path / "poisoned") == expected
    held_out = {i for i in range(len(SMILES)) if i // 10 % 3 == 1}
    (sides,) = read_splits(tmp_path / "clean" / "fold_1" / "inner_split.json", len(SMILES))
    inside = np.concatenate(sides).tolist()
    assert set(inside) == set(range(len(SMILES))) - held_out
    assert len(inside) == len(set(inside))
    assert all(len(side) for side in sides)

    # The same check finds a leak where there is one: a held-out compound rates the trials.
    def leaking(split, n):
        parts = activity_split.parts_of_split(split, n)
        parts[np.flatnonzero(parts == TEST)[:1]] = 0
        return parts

    pretended.setattr(activity_train, "parts_of_split", leaking)
    leaked = outcome(clean, tmp_path / "leak")
    assert leaked != outcome(poisoned, tmp_path / "poisoned_leak")


def test_a_stopped_search_ends_as_one_that_was_not(pretended, tmp_path) -> None:
    data = table(tmp_path / "a.csv")
    whole, cut = tmp_path / "whole" / "fold_1", tmp_path / "cut" / "fold_1"
    assert tune(data, whole.parent, "--trials", 14)[0] == 0
    calls = 0

    def stopping(config, workdir, *, watch):
        nonlocal calls
        calls += 1
        if calls == 4:
            watch({"mean_auroc": 0.1})
            workdir.mkdir(parents=True)
            raise TrainingInterrupted(3, signal.SIGTERM)
        pretend(config, workdir, watch=watch)

    pretended.setattr(activity_search, "train_activity", stopping)
    code, text = tune(data, cut.parent, "--trials", 14)
    assert code == 130
    assert "the trial will be repeated" in text
    assert len(read(cut / "trials.csv")) == 3
    code, text = tune(data, cut.parent, "--trials", 14)
    assert code == 0
    assert "1 interrupted trial, repeated" in text
    assert (cut / "trials.csv").read_bytes() == (whole / "trials.csv").read_bytes()
    found, expected = (json.loads((f / "best.json").read_text()) for f in (cut, whole))
    assert {**found, "command": ""} == {**expected, "command": ""}


def test_killed_and_resumed_is_never_killed(pretended, tmp_path) -> None:
    data = table(tmp_path / "a.csv")
    config = morgan_config(data, tmp_path / "s.json")
    space = space_of(config, ["hidden=8:64:8"])
    whole = Search(config, tmp_path / "whole", data=DATA, space=space, seed=5)
    whole.run(14)
    cut = Search(config, tmp_path / "cut", data=DATA, space=space, seed=5)
    cut.run(3)
    cut._study.ask()  # begun, and then kill -9 in the middle of a line
    with (tmp_path / "cut" / "journal.log").open("ab") as file:
        file.write(b'{"op_code": 6, "worker')
    again = Search(config, tmp_path / "cut", data=DATA, space=space, seed=5)
    again.run(14)
    assert again.results == whole.results
    assert again.interrupted == 1
    assert whole.interrupted == 0
    assert again.best == whole.best
    assert len({tuple(r.values.items()) for r in whole.results}) > 7
    other = Search(config, tmp_path / "other", data=DATA, space=space, seed=6)
    other.run(3)
    assert [r.values for r in other.results] != [r.values for r in whole.results[:3]]
    with pytest.raises(UsageError, match="seed: 5 then, 6 now"):
        Search(config, tmp_path / "cut", data=DATA, space=space, seed=6)
    with again._alone(), pytest.raises(UsageError, match="another process searches here"):
        whole.__class__(config, tmp_path / "cut", data=DATA, space=space, seed=5)


def morgan_config(data: Path, splits: Path, **train: object) -> ConfigDict:
    config = PRESETS["morgan"]()
    config.data.path, config.data.targets = str(data), ("n", "o")
    config.data.split.update(scheme="file", file=str(splits))
    config.train.update(epochs=8, **train)
    splits.write_text(json.dumps([{"train": [0, 1, 2], "val": [3], "test": [4]}]))
    return config


def test_bad_trials_are_cut_short_and_divergence_counts_as_bad(pretended, tmp_path) -> None:
    config = morgan_config(table(tmp_path / "a.csv"), tmp_path / "s.json")
    trained = []

    def training(config, workdir, *, watch):
        trained.append(epochs := [])
        number = len(trained) - 1
        if number == 1:
            raise NonFiniteError(3, [], {"loss": math.nan})
        score = 0.3 if number >= 6 else 0.6 + number / 100
        for epoch in range(8):
            epochs.append(epoch)
            watch({"mean_auroc": math.nan if epoch == 0 else score})
        write_json(workdir / "scores.json", {"test": {"mean": {"mean_auroc": score}}})

    pretended.setattr(activity_search, "train_activity", training)
    search = Search(config, tmp_path / "search", data=DATA, space=space_of(config), seed=0)
    search.run(8)
    states = [result.state for result in search.results]
    assert states == ["complete", "diverged", *["complete"] * 4, "pruned", "pruned"]
    # The median of the trials before decides, and nobody is cut before a quarter of the epochs.
    assert [len(epochs) for epochs in trained] == [8, 0, 8, 8, 8, 8, 2, 2]
    assert search.best.number == 5
    assert search.best.score == 0.65
    assert math.isnan(search.results[6].score)
    assert search.results[6].validation == pytest.approx(0.3)


def test_an_undefined_score_and_an_expired_time_are_said(pretended, tmp_path) -> None:
    config = morgan_config(table(tmp_path / "a.csv"), tmp_path / "s.json")

    def undefined(config, workdir, *, watch):
        write_json(workdir / "scores.json", {"test": {"mean": {"mean_auroc": None}}})

    pretended.setattr(activity_search, "train_activity", undefined)
    search = Search(config, tmp_path / "x", data=DATA, space=space_of(config))
    with pytest.raises(UsageError, match="mean_auroc is undefined on the compounds that rate"):
        search.run(2)
    with pytest.raises(UserError, match="no trial is complete"):
        _ = search.best
    pretended.setattr(activity_search, "train_activity", pretend)
    search = Search(config, tmp_path / "y", data=DATA, space=space_of(config))
    search.run(5, seconds=1e-9)
    assert not search.results
    for by, better in (("mean_auroc", max), ("loss", min)):
        config.train.best = by
        search = Search(config, tmp_path / by, data=DATA, space=space_of(config))
        search.run(3)
        assert search.best.score == better(result.score for result in search.results)


@pytest.mark.parametrize("preset", ["cellml", "chemprop_v1", "morgan"])
def test_settings_are_those_that_the_trial_had(preset: str) -> None:
    config = PRESETS[preset]()
    space = space_of(config)
    assert ("depth" in space) == (preset != "morgan")
    values = {name: values.high for name, values in space.items()} | {"dropout": 0.15}
    trial = changed(config, values)
    assert trial.model.hidden == (2400, 2400)
    assert config.model.hidden != trial.model.hidden
    if preset != "morgan":
        assert trial.model.mpnn.to_dict() == {"hidden": 2400, "depth": 6, "dropout": 0.15}
    again = PRESETS[preset]()
    for line in settings_of(config, values):
        change_config(again, line)
    assert again.to_dict() == trial.to_dict()
    assert (trial.model.input_dropout == 0.15) == (preset == "chemprop_v1")
    assert SPACE["dropout"] == (0.0, 0.4, 0.05)
    assert changed(config, {**values, "layers": 1}).model.hidden == ()


def test_the_command_trains_a_network_a_trial_and_says_how_to_go_on(tmp_path) -> None:
    data, out = table(tmp_path / "a.csv"), tmp_path / "out"
    options = ("--trials", 2, "--epochs", 2, "--set", "train.best=loss")
    code, text = tune(data, out, *options)
    assert code == 0
    best = json.loads((out / "fold_1" / "best.json").read_text())
    rows = read(out / "fold_1" / "trials.csv")
    assert [row["state"] for row in rows] == ["complete"] * 2
    assert best["score"] == pytest.approx(min(float(row["loss"]) for row in rows), rel=1e-6)
    assert best["command"] in text
    assert best["compounds"] == {"train": 32, "val": 4, "test": 4}
    kept = {path.name for path in (out / "fold_1" / "trials" / "000").iterdir()}
    assert kept == {"config.json", "metrics.jsonl", "scores.json"}
    before = {path: path.read_bytes() for path in out.rglob("*.[cj]s*")}
    assert len(before) > 5
    code, text = tune(data, out, *options)
    assert "kept" in text
    assert all(path.read_bytes() == content for path, content in before.items())
    words = shlex.split(best["command"])
    assert words[:4] == ["cellml", "activity", "train", str(data)]
    for setting in best["settings"]:
        place = words.index(setting)
        del words[place - 1 : place + 1]
    assert " ".join(words[4:]) == (
        f"--out {out / 'trained'} --preset morgan --split-column fold --holdout-fold 1 --epochs 2 "
        "--seed 0 --set model.fingerprint.size=32 --set train.best=loss"
    )
    code, _ = activity(*shlex.split(best["command"])[2:], "--no-baseline")
    assert code == 0
    config = json.loads((out / "trained" / "fold_1" / "config.json").read_text())["config"]
    assert config["model"]["dropout"] == best["values"]["dropout"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--trials", 0), "numbers above 0 expected"),
        (("--range", "width=3"), "--range width=3: one of hidden, dropout, layers expected"),
        (("--range", "hidden=9:3:1"), "low:high:step"),
        (("--inner-split", "kmeans"), "scaffold_balanced or random expected"),
        (("--split", "random"), "exclude each other"),
    ],
)
def test_wrong_options_are_named(tmp_path, options, message) -> None:
    with pytest.raises(UsageError, match=message):
        tune(table(tmp_path / "a.csv"), tmp_path / "out", *options)
    assert TuneOptions.trials == 20
