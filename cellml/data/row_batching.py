"""Batches of plain rows: fingerprints and features of compounds, without graphs.

The counterpart of `cellml.data.graph_batching`: a batch depends on the seed and its step alone.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping

import numpy as np
from jaxtyping import Integer

from cellml.types import Batch

Arrays = Mapping[str, np.ndarray]
"""Values by key, one entry a row; `valid` is reserved."""


def training_rows(
    arrays: Arrays, *, batch_size: int, seed: int
) -> Callable[[int], Iterator[Batch]]:
    """Endless batches that can start at any step; every row comes once an epoch.

    Args:
      arrays: The rows.
      batch_size: Rows a batch; the last one of an epoch is padded to it.
      seed: Of the order.

    Returns:
      `batches(start_step)`, an iterator of host batches with `valid`.

    Raises:
      ValueError: There is no row, or the arrays differ in length.
    """
    count = _length(arrays)
    steps = -(-count // batch_size)

    def batches(start_step: int) -> Iterator[Batch]:
        first_epoch, skipped = divmod(start_step, steps)
        for epoch in itertools.count(first_epoch):
            order = np.random.default_rng([seed, epoch]).permutation(count)
            for step in range(skipped, steps):
                rows = order[step * batch_size : (step + 1) * batch_size]
                yield _padded(arrays, rows, batch_size)
            skipped = 0

    return batches


def evaluation_rows(arrays: Arrays, *, batch_size: int) -> Iterator[Batch]:
    """Gives every row once, in order.

    Args:
      arrays: The rows.
      batch_size: Rows a batch; the last one is padded to it.

    Yields:
      Host batches with `valid`.

    Raises:
      ValueError: As from `training_rows`.
    """
    count = _length(arrays)
    for first in range(0, count, batch_size):
        yield _padded(arrays, np.arange(first, min(first + batch_size, count)), batch_size)


def _padded(
    arrays: Arrays, rows: Integer[np.ndarray, " k"], batch_size: int
) -> dict[str, np.ndarray]:
    batch = {}
    for name, values in arrays.items():
        batch[name] = np.zeros((batch_size, *values.shape[1:]), values.dtype)
        batch[name][: len(rows)] = values[rows]
    return {**batch, "valid": np.arange(batch_size) < len(rows)}


def _length(arrays: Arrays) -> int:
    lengths = {name: len(values) for name, values in arrays.items()}
    if not lengths or min(lengths.values()) < 1 or len(set(lengths.values())) > 1:
        raise ValueError(f"arrays of one length of at least 1 expected, found {lengths}")
    return next(iter(lengths.values()))
