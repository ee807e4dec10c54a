"""Evaluation that loses no example: pad, mask, sum over batches and devices, divide once."""

from collections.abc import Iterable, Sequence

import jax
import numpy as np

from cellml.train.parallel import (
    DeviceMetrics,
    EvalFn,
    Ratio,
    batch_rows,
    fetch_metrics,
    make_eval_step,
    replicate,
    shard_batch,
)
from cellml.types import Batch, Task, Variables


def evaluate(
    task: Task,
    variables: Variables,
    batches: Iterable[Batch],
    *,
    devices: Sequence[jax.Device] | None = None,
    step: EvalFn | None = None,
) -> dict[str, float]:
    """Evaluates a model on all examples of some batches.

    Args:
      task: Gives the metrics.
      variables: Unreplicated variables.
      batches: Host batches of any lengths; short ones are padded to the longest so far.
      devices: Where to run, all local devices by default.
      step: A compiled step from `make_eval_step(task, devices)`, to be reused between calls.

    Returns:
      The sum of each metric over its count, see `divide`.

    Raises:
      ValueError: There are no batches.
    """
    devices = jax.local_devices() if devices is None else devices
    step = make_eval_step(task, devices) if step is None else step
    variables = replicate(variables, devices)
    totals: dict[str, Ratio] = {}
    pending: DeviceMetrics | None = None
    rows = 0
    for batch in batches:
        rows = max(rows, batch_rows(batch))
        metrics = step(variables, shard_batch(batch, len(devices), rows=rows))
        # Fetched one batch late, so that the host prepares the next one meanwhile.
        if pending is not None:
            add_metrics(totals, fetch_metrics(pending, len(devices)))
        pending = metrics
    if pending is None:
        raise ValueError(f"task {task.name!r}: nothing to evaluate, there are no batches")
    add_metrics(totals, fetch_metrics(pending, len(devices)))
    return divide(totals)


def add_metrics(totals: dict[str, Ratio], metrics: dict[str, Ratio]) -> None:
    """Adds `(sum, count)` pairs to running totals, in place and in double precision."""
    for name, (value, count) in metrics.items():
        old_value, old_count = totals.get(name, (0.0, 0.0))
        totals[name] = (old_value + value, old_count + count)


def divide(totals: dict[str, Ratio]) -> dict[str, float]:
    """Sum over count for each metric, NaN where nothing was counted.

    Of a vector, one ratio a class, the mean over the classes that were counted (macro average).
    """
    divided = {}
    for name, (value, count) in totals.items():
        counted = np.atleast_1d(count) > 0
        ratios = np.atleast_1d(value)[counted] / np.atleast_1d(count)[counted]
        divided[name] = float(ratios.mean()) if ratios.size else float("nan")
    return divided
