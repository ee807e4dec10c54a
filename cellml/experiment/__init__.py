"""Joins a config's data, task and training. Behind `cellml train` and `launch/train.py`.

What a task needs is imported when it is run, so that the parts of this package are quick to import.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from cellml.errors import UsageError
from cellml.experiment.steps import step_counts

__all__ = ["RUNS", "run", "step_counts"]

STUDY = "activity_study"


def _semantic(config: ConfigDict, workdir: Path) -> Any:
    from cellml.experiment.semantic import train_semantic

    return train_semantic(config, workdir)


def _instances(config: ConfigDict, workdir: Path) -> Any:
    from cellml.experiment.instances import train_instances

    return train_instances(config, workdir)


def _embedding(config: ConfigDict, workdir: Path) -> Any:
    from cellml.experiment.embedding import train_embedding

    return train_embedding(config, workdir)


def _activity(config: ConfigDict, workdir: Path) -> Any:
    from cellml.experiment.activity import train_activity

    return train_activity(config, workdir)


RUNS: Mapping[str, Callable[[ConfigDict, Path], Any]] = {
    "semantic": _semantic,
    "instances": _instances,
    "embedding": _embedding,
    "activity": _activity,
}
"""What a config's `task` may name."""


def run(config: ConfigDict, workdir: str | Path) -> Any:
    """Trains what the config describes, everything it writes below `workdir`.

    Returns:
      The last `cellml.train.state.TrainState`.

    Raises:
      ValueError: Unknown task; the message lists the known ones.
      UsageError: The config is of a study, which trains many.
    """
    if config.task == STUDY:
        raise UsageError("the config is of a study: launch/activity_study.py --config runs it")
    if config.task not in RUNS:
        raise ValueError(f"config.task: unknown {config.task!r}; known: {', '.join(RUNS)}")
    return RUNS[config.task](config, Path(workdir))
