"""A training of molecules of all sizes compiles a handful of programs, whatever its length."""

import collections
import logging
import re
from pathlib import Path

import jax
import pytest

from cellml.experiment.activity import train_activity
from cellml.experiment.activity_presets import PRESETS, smoke
from cellml.train import checkpoint

PROGRAMS = {"single": 1, "predict_with_spread": 2}  # the latter for validation, and for all


@pytest.mark.parametrize("preset", ["cellml", "morgan"])
def test_a_whole_training_compiles_its_step_once(preset, tmp_path: Path, monkeypatch, caplog):
    monkeypatch.setattr(jax, "local_devices", lambda *_, **__: jax.devices()[:1])
    config = smoke(PRESETS[preset]())
    config.data.simulate.n_compounds = 200
    config.data.simulated_features = False
    del config.train.max_steps
    config.train.update(epochs=4, eval_every_epochs=1, checkpoint_every_epochs=1)
    with jax.log_compiles(), caplog.at_level(logging.WARNING, "jax"):
        train_activity(config, tmp_path / "run")
    assert max(checkpoint.steps(tmp_path / "run")) > 20
    begun = [re.match(r"Compiling (?:jit\()?(\w+)", line) for line in caplog.messages]
    found = collections.Counter(match[1] for match in begun if match)
    for name, most in PROGRAMS.items():
        assert 1 <= found[name] <= most, found
    # What is left are initialisations and single operations, of an epoch or step none.
    assert sum(found.values()) < 60, found
