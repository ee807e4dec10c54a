"""Batches of single cells from a store, classes balanced; resuming is exact.

A batch depends on the seed and its step alone: epoch e is an order of rows drawn from (seed, e),
and epochs follow each other without a gap, so that a batch may span two.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import Int, Shaped

from cellml.data.cell_store import CellStore
from cellml.errors import UsageError
from cellml.types import Batch

MASK = "mask"
"""Name of a store's last channel where it has masks."""


def balanced_rows(
    classes: Int[np.ndarray, " n"], rng: np.random.Generator
) -> Int[np.ndarray, " m"]:
    """Draws equally many cells of each class, as DeepProfiler does once an epoch.

    Args:
      classes: Class of each cell.
      rng: Draws.
    Returns:
      For each class as many rows as the median class has cells (rounded down), in random order;
      without repeats, except of a class that has fewer.
    """
    members = [np.flatnonzero(classes == label) for label in np.unique(classes)]
    if not members:
        return np.zeros(0, np.int64)
    size = max(int(np.median([len(rows) for rows in members])), 1)
    drawn = [rng.choice(rows, size, replace=len(rows) < size) for rows in members]
    return rng.permutation(np.concatenate(drawn))


def epoch_length(classes: Int[np.ndarray, " n"]) -> int:
    """Number of cells that `balanced_rows` draws."""
    counts = np.unique(classes, return_counts=True)[1]
    return len(counts) * max(int(np.median(counts)), 1) if len(counts) else 0


def training_batches(
    store: CellStore,
    rows: Int[np.ndarray, " n"],
    classes: Int[np.ndarray, " n"],
    *,
    batch_size: int,
    seed: int,
    masked: bool = False,
) -> Callable[[int], Iterator[Batch]]:
    """Endless balanced batches that can start at any step.

    Args:
      store: Pixels.
      rows: Rows of the store that train.
      classes: Their classes.
      batch_size: Cells a batch.
      seed: Of the order.
      masked: See `own_pixels`.
    Returns:
      `batches(start_step)`: an iterator of batches with crops (as stored), target, valid, index.
    Raises:
      ValueError: There are no rows.
    """
    length = epoch_length(classes)
    if not length:
        raise ValueError("training cells: found none")

    def batches(start_step: int) -> Iterator[Batch]:
        epoch, order = -1, np.zeros(0, np.int64)
        position = start_step * batch_size
        while True:
            chosen = np.empty(0, np.int64)
            while len(chosen) < batch_size:
                if position // length != epoch:
                    epoch = position // length
                    order = balanced_rows(classes, np.random.default_rng((seed, epoch)))
                offset = position % length
                part = order[offset : offset + batch_size - len(chosen)]
                chosen = np.concatenate([chosen, part])
                position += len(part)
            yield read_batch(store, rows[chosen], classes[chosen], masked=masked)

    return batches


def evaluation_batches(
    store: CellStore,
    rows: Int[np.ndarray, " n"],
    classes: Int[np.ndarray, " n"],
    *,
    batch_size: int,
    masked: bool = False,
) -> Iterator[Batch]:
    """Every given row once, in order; the last batch may be smaller.

    Args:
      store: Pixels.
      rows: Rows of the store.
      classes: Their classes.
      batch_size: Cells a batch.
      masked: See `own_pixels`.
    Returns:
      Host batches.
    """
    for start in range(0, len(rows), batch_size):
        part = slice(start, start + batch_size)
        yield read_batch(store, rows[part], classes[part], masked=masked)


def read_batch(
    store: CellStore, rows: Int[np.ndarray, " b"], classes: Int[np.ndarray, " b"], *, masked: bool
) -> dict[str, np.ndarray]:
    """Reads cells into a batch.

    Args:
      store: Pixels.
      rows: Rows of the store.
      classes: Their classes.
      masked: See `own_pixels`.
    Returns:
      crops [b s s c] as stored, target int32 [b], valid, index.
    """
    return {
        "crops": own_pixels(store.read(rows), store.channels, masked=masked),
        "target": classes.astype(np.int32),
        "valid": np.ones(len(rows), np.bool_),
        "index": rows.astype(np.int32),
    }


def image_channels(channels: Sequence[str]) -> tuple[str, ...]:
    """The channels of a store without its mask."""
    return tuple(name for name in channels if name != MASK)


def own_pixels(
    cells: Shaped[np.ndarray, "b s s c"], channels: Sequence[str], *, masked: bool
) -> Shaped[np.ndarray, "b s s c2"]:
    """Takes the mask channel off crops.

    Args:
      cells: As stored; the mask, if there is one, comes last.
      channels: Of the store.
      masked: Whether pixels outside the mask become 0.
    Returns:
      Crops of `image_channels(channels)`.
    Raises:
      UsageError: There is no mask to apply.
    """
    pixels = cells[..., : len(image_channels(channels))]
    if not masked:
        return pixels
    if MASK not in channels:
        raise UsageError("the single cells have no masks: export them with --masks keep")
    return pixels * (cells[..., -1:] > 0)
