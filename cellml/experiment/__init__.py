"""Joins a config's data, task and training. Behind `cellml train` and `launch/train.py`."""

from collections.abc import Callable, Mapping
from pathlib import Path

from ml_collections import ConfigDict

from cellml.errors import UsageError
from cellml.experiment.activity import train_activity
from cellml.experiment.activity_study import TASK as STUDY
from cellml.experiment.embedding import train_embedding
from cellml.experiment.instances import train_instances
from cellml.experiment.semantic import train_semantic
from cellml.experiment.steps import step_counts
from cellml.train.state import TrainState

__all__ = ["RUNS", "run", "step_counts"]

RUNS: Mapping[str, Callable[[ConfigDict, Path], TrainState]] = {
    "semantic": train_semantic,
    "instances": train_instances,
    "embedding": train_embedding,
    "activity": train_activity,
}
"""What a config's `task` may name."""


def run(config: ConfigDict, workdir: str | Path) -> TrainState:
    """Trains what the config describes, everything it writes below `workdir`.

    Raises:
      ValueError: Unknown task; the message lists the known ones.
      UsageError: The config is of a study, which trains many.
    """
    if config.task == STUDY:
        raise UsageError("the config is of a study: launch/activity_study.py --config runs it")
    if config.task not in RUNS:
        raise ValueError(f"config.task: unknown {config.task!r}; known: {', '.join(RUNS)}")
    return RUNS[config.task](config, Path(workdir))
