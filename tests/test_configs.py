"""Every config runs one step at smoke size, and every entry of it is read by something."""

import ast
import importlib.util
import json
import re
from pathlib import Path

import jax
import pytest
from ml_collections import ConfigDict
from rich.console import Console

from cellml import experiment
from cellml.commands import activity_study_run
from cellml.errors import UsageError
from cellml.experiment.embedding import last_embedder
from cellml.tasks.activity_models import load_activity
from cellml.tasks.embedders import load_embedder
from cellml.tasks.instances import load_instance_segmenter
from cellml.tasks.semantic import load_segmenter
from cellml.train.config import track_reads, unread
from tests.report.page_checks import text_of

FOLDER = Path(__file__).resolve().parents[1] / "configs"
CONFIGS = sorted(path.stem for path in FOLDER.glob("*.py"))
STUDIES = ("activity_broad", "activity_dissertation")
"""Configs of many trainings."""


def _module(name: str):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", [name for name in CONFIGS if name not in STUDIES])
def test_config_trains_at_smoke_size_and_reads_every_entry(name: str, tmp_path: Path) -> None:
    module = _module(name)
    config = module.smoke(module.get_config())
    if "data_dir" in config.data:
        config.data.data_dir = str(tmp_path / "data")
    tracked = track_reads(config)
    state = experiment.run(tracked, tmp_path / "run")
    if "kernel" not in config:  # which takes no steps
        assert int(state.step) >= 1
    assert unread(tracked) == []
    if config.task == "embedding":
        split = json.loads((tmp_path / "run" / "split.json").read_text())
        assert split["in_common"]["plates"] == 0
        embedder = load_embedder(last_embedder(tmp_path / "run"))
        assert embedder.spec.classes == ("DMSO", "T001")
        return
    if config.task == "activity":
        assert load_activity(tmp_path / "run" / "model.safetensors").spec.kind == config.model.kind
        return
    exported = sorted((tmp_path / "run" / "segmenters").iterdir())
    if config.task == "instances":
        assert load_instance_segmenter(exported[-1]).spec.preset == config.model.preset
    else:
        assert load_segmenter(exported[-1]).spec.heads == tuple(config.model.heads)


@pytest.mark.parametrize("name", STUDIES)
def test_study_runs_at_smoke_size_and_reads_every_entry(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jax, "local_devices", lambda: jax.devices()[:1])  # compiles sooner
    module = _module(name)
    tracked = track_reads(module.smoke(module.get_config()))
    facts = activity_study_run.run(tracked, tmp_path, Console(quiet=True))
    assert unread(tracked) == []
    found = facts["tables"]["simulated"]
    assert set(found) == {*tracked.predictors, *tracked.late, *tracked.chosen, *tracked.best_of,
                          "linear"}  # fmt: skip
    assert all(one["mean"] is not None for one in found.values())
    page = tmp_path / "simulated" / "seed_0" / "report" / "report.html"
    text = text_of(page.read_text())
    for what in ("Table 1.", "Table 2.", "Table 3.", "Table 4.", "Figure 30.", "Figure 31.",
                 "Figure 32."):  # fmt: skip
        assert what in text
    with pytest.raises(UsageError, match=r"launch/activity_study\.py"):
        experiment.run(tracked, tmp_path)


@pytest.mark.parametrize("name", CONFIGS)
def test_config_header_states_command_and_hardware(name: str) -> None:
    text = _module(name).__doc__ or ""
    assert f"configs/{name}.py" in text
    assert "Hardware:" in text


def test_an_entry_that_nothing_reads_is_found(tmp_path: Path) -> None:
    module = _module("unet_nuclei")
    config = module.smoke(module.get_config())
    config.train.learning_rat = 3e-4
    config.data.data_dir = str(tmp_path / "data")
    tracked = track_reads(config)
    experiment.run(tracked, tmp_path / "run")
    assert unread(tracked) == ["train.learning_rat"]


def test_unknown_task_is_named(tmp_path: Path) -> None:
    config = _module("unet_nuclei").get_config()
    config.task = "dreams"
    with pytest.raises(
        ValueError, match="unknown 'dreams'; known: semantic, instances, embedding, activity"
    ):
        experiment.run(config, tmp_path)


def test_epochs_become_steps() -> None:
    train = _module("unet_dissertation").get_config().train
    train.batch_size = 4
    counts = experiment.step_counts(train, n_examples=10)
    assert counts == {"steps": 600, "eval_every": 3, "checkpoint_every": 15}


def test_the_dissertations_hidden_settings_are_stated_as_they_are() -> None:
    module = _module("wsl_dissertation")
    config = module.get_config()
    stated = re.findall(r"^  ([a-z_.]+) = (\S+)", module.__doc__ or "", re.MULTILINE)
    for name, value in stated:
        found = config
        for part in name.split("."):
            found = found[part]
        assert ast.literal_eval(value) == found, name
    decisive = [
        f"{section}.{name}"
        for section in ("model", "augmentation", "loss", "optimizer", "optimizer.schedule", "train")
        for name, value in _section(config, section).items()
        if not isinstance(value, ConfigDict) and not name.endswith(("_every", "_every_epochs"))
    ]
    assert set(decisive) - {name for name, _ in stated} == set()


def _section(config: ConfigDict, name: str) -> ConfigDict:
    for part in name.split("."):
        config = config[part]
    return config
