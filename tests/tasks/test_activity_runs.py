"""Runs of activity models: resumed to the bit, the best epoch kept, simulated screens."""

from pathlib import Path

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from cellml.data.assay_simulation import simulate_screen
from cellml.data.molecules import read_molecules
from cellml.errors import UsageError
from cellml.experiment import activity, activity_data
from cellml.experiment.activity import timed_optimizer, train_activity
from cellml.experiment.activity_data import read_modalities
from cellml.experiment.activity_presets import PRESETS, smoke
from cellml.train import checkpoint
from cellml.weights.store import load_weights


def small_config(**changes) -> ConfigDict:
    config = smoke(PRESETS["cellml"]())
    config.data.simulated_features = False
    config.train.update(epochs=2, max_steps=3, eval_every_epochs=1, checkpoint_every_epochs=1)
    config.model.update(members=1)
    for name, values in changes.items():
        config[name].update(values)
    return config


def test_killed_and_resumed_is_never_killed_to_the_bit(tmp_path: Path, monkeypatch) -> None:
    # An ensemble with dropout and features: every source of chance and of state.
    def config() -> ConfigDict:
        changed = small_config(model={"members": 2, "dropout": 0.3})
        changed.data.simulated_features = True
        changed.loss.modality_dropout = 0.3
        return changed

    whole, cut = tmp_path / "whole", tmp_path / "cut"
    # One device, which compiles in a fraction of the time; tests/test_configs.py has all eight.
    monkeypatch.setattr(jax, "local_devices", lambda: jax.devices()[:1])
    train_activity(config(), whole)

    def failing(*arguments, **options):
        batches = activity_data.training_batches(*arguments, **options)

        def until_killed(start: int):
            for step, batch in enumerate(batches(start), start):
                if step == 2:
                    raise RuntimeError("power failure")
                yield batch

        return until_killed

    with monkeypatch.context() as patch:
        patch.setattr(activity, "training_batches", failing)
        with pytest.raises(RuntimeError, match="power failure"):
            train_activity(config(), cut)
    assert checkpoint.steps(cut) == [2]
    train_activity(config(), cut)
    for name in ("predictions.csv", "scores.json", "split.csv", "rejected.csv"):
        assert (whole / name).read_bytes() == (cut / name).read_bytes(), name
    models = [load_weights(folder / "model.safetensors") for folder in (whole, cut)]
    assert models[0][1] == models[1][1]  # the description; the file's header has no fixed order
    jax.tree.map(np.testing.assert_array_equal, models[0][0], models[1][0])


def test_the_best_epoch_is_kept_and_unknown_choices_are_refused(tmp_path: Path) -> None:
    config = small_config(train={"best": "mean_rmse"})
    with pytest.raises(UsageError, match="'mean_rmse' is no score of kind 'binary'; known: loss"):
        train_activity(config, tmp_path / "a")
    config = small_config(train={"best": "beauty"})
    with pytest.raises(UsageError, match="unknown 'beauty'"):
        train_activity(config, tmp_path / "b")
    plan = timed_optimizer(PRESETS["cellml"]().optimizer, steps=100, epoch=10)
    assert plan["schedule"] == {"name": "noam", "steps": 100, "warmup_steps": 20}


def test_simulated_screens_have_what_they_promise(tmp_path: Path) -> None:
    screen = simulate_screen(n_compounds=300, n_assays=4, tested=0.5, profiled=0.8, seed=1)
    assert len(set(screen.smiles)) == 300
    assert not read_molecules(screen.smiles).rejected
    assert 0.45 < np.isfinite(screen.labels).mean() < 0.55
    there = np.isfinite(screen.morphology).all(1)
    assert 0.7 < there.mean() < 0.9
    # A linear look at the profiles tells the morphological assays and not the others.
    explained = []
    for column in screen.labels.T:
        rows = there & np.isfinite(column)
        x, y = screen.morphology[rows], column[rows] - column[rows].mean()
        fit = np.linalg.lstsq(x - x.mean(0), y, rcond=None)[0]
        explained.append(1 - np.sum((y - (x - x.mean(0)) @ fit) ** 2) / np.sum(y**2))
    assert min(explained[1::2]) > 0.3 > 0.2 > max(explained[::2])
    assert read_modalities([], screen.smiles) == ((), None)
