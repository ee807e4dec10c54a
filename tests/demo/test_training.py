import json
from pathlib import Path

import numpy as np
import pytest

from cellml import experiment
from cellml.demo import training
from cellml.demo.fields import data_options
from cellml.demo.settings import FULL, SMOKE


@pytest.fixture
def calls(monkeypatch):
    """Runs of the experiment: what lay in the folder when it began."""
    seen = []

    def run(config, workdir):
        seen.append(sorted(path.name for path in Path(workdir).iterdir()))
        (Path(workdir) / "checkpoint").touch()

    monkeypatch.setattr(experiment, "run", run)
    return seen


def test_a_killed_training_goes_on(calls, tmp_path):
    config = training.demo_config(SMOKE, tmp_path)
    for _ in range(2):
        training._train(config, tmp_path / "training")
    assert calls == [["demo_config.json"], ["checkpoint", "demo_config.json"]]


def test_a_finished_training_starts_anew_so_that_its_time_is_measured(calls, tmp_path):
    config = training.demo_config(SMOKE, tmp_path)
    training._train(config, tmp_path / "training")
    (tmp_path / "training" / training.FINISHED).write_text("{}")
    training._train(config, tmp_path / "training")
    assert calls == [["demo_config.json"]] * 2


def test_a_training_of_other_settings_starts_anew(calls, tmp_path):
    training._train(training.demo_config(SMOKE, tmp_path), tmp_path / "training")
    training._train(training.demo_config(FULL, tmp_path), tmp_path / "training")
    assert calls == [["demo_config.json"]] * 2


def test_a_folder_that_is_not_ours_is_left_alone(calls, tmp_path):
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "thesis.txt").write_text("years of work")
    training._train(training.demo_config(SMOKE, tmp_path), tmp_path / "training")
    assert (tmp_path / "training" / "thesis.txt").exists()


def test_training_and_scoring_share_one_data_set():
    config = training.demo_config(FULL, Path("data"))
    assert json.loads(config.to_json())["data"]["options"] == {
        "sizes": list(data_options(FULL)["sizes"]),
        "shape": list(data_options(FULL)["shape"]),
    }


def test_the_film_shows_the_first_and_the_last_and_more_of_the_beginning():
    made = [training.Snapshot(step, 0.0, [], []) for step in range(0, 90, 10)]
    steps = [s.step for s in training._spread_out(made, 4)]
    assert steps[0] == 0
    assert steps[-1] == 80
    assert len(steps) == 4
    assert (np.diff(steps) > 0).all()
    assert steps[1] - steps[0] < steps[3] - steps[2]
    assert training._spread_out(made[:2], 4) == made[:2]


def test_the_loss_of_held_out_fields_is_put_together_as_in_training(tmp_path):
    config = training.demo_config(SMOKE, tmp_path)
    parts = {"bce_foreground": 0.5, "bce_boundary": 0.25, "bce_distance": 0.125, "dice": 0.5}
    records = [
        {"step": 2, "train/loss": 3.0},
        {"step": 2} | {f"eval/{k}": v for k, v in parts.items()},
    ]
    plain, evaluated = training.with_evaluation_loss(config, records)
    assert plain == records[0]
    assert evaluated["eval/loss"] == 0.5 + 0.25 + 0.125 + 0.5 * 0.5
