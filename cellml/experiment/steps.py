"""Lengths of a training run."""

from typing import Any

from ml_collections import ConfigDict


def step_counts(train: ConfigDict, *, n_examples: int) -> dict[str, Any]:
    """Lengths in optimiser steps, from a config that gives them in steps or in epochs.

    Args:
      train: `steps`, `eval_every` and `checkpoint_every`; or `epochs`, `eval_every_epochs` and
        `checkpoint_every_epochs`, with an optional `max_steps`.
      n_examples: Examples an epoch.
    Returns:
      `steps`, `eval_every` and `checkpoint_every`, as `fit` takes them.
    """
    if "epochs" not in train:
        return {name: int(train[name]) for name in ("steps", "eval_every", "checkpoint_every")}
    epoch = -(-n_examples // train.batch_size)
    steps = min(train.epochs * epoch, train.get("max_steps", 0) or train.epochs * epoch)
    return {
        "steps": steps,
        "eval_every": train.eval_every_epochs * epoch,
        "checkpoint_every": train.checkpoint_every_epochs * epoch,
    }
