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
    epoch = epoch_steps(train, n_examples=n_examples)
    steps = min(train.epochs * epoch, train.get("max_steps", 0) or train.epochs * epoch)
    return {
        "steps": steps,
        "eval_every": train.eval_every_epochs * epoch,
        "checkpoint_every": train.checkpoint_every_epochs * epoch,
    }


def epoch_steps(train: ConfigDict, *, n_examples: int) -> int:
    """Optimiser steps of an epoch; the last batch is whole, with examples of the next epoch."""
    return -(-n_examples // train.batch_size)


def scheduled_by_epoch(optimizer: ConfigDict, *, steps_per_epoch: int) -> ConfigDict:
    """An optimiser's config whose schedule is given in steps.

    Args:
      optimizer: See `make_optimizer`. A schedule called `by_epoch` has `epochs`, ascending from 0,
        and the learning `rates` from each of them on, as DeepProfiler's configurations have them;
        before the first epoch the rate is `learning_rate`.
      steps_per_epoch: Length of an epoch.
    Returns:
      The same config with a piecewise schedule; any other as it is.
    Raises:
      ValueError: Not as many rates as epochs, or epochs that do not ascend.
    """
    schedule = optimizer.get("schedule") or {}
    if schedule.get("name") != "by_epoch":
        return optimizer
    epochs, rates = list(schedule["epochs"]), list(schedule["rates"])
    if len(epochs) != len(rates) or epochs != sorted(set(epochs)) or min(epochs, default=0) < 0:
        raise ValueError(
            f"by_epoch: epochs {epochs} must ascend from 0 and be as many as rates {rates}"
        )
    first = optimizer.learning_rate
    if epochs and epochs[0] == 0:
        first, epochs, rates = rates[0], epochs[1:], rates[1:]
    before = [first, *rates]
    made = ConfigDict(optimizer.to_dict())
    made.learning_rate = first
    made.schedule = ConfigDict(
        {
            "name": "piecewise",
            "boundaries": tuple(epoch * steps_per_epoch for epoch in epochs),
            "factors": tuple(new / old for new, old in zip(rates, before, strict=False)),
        }
    )
    return made
