"""Which single cells train, validate, or are held out; and what the sides have in common."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from cellml.errors import UsageError

SCHEMES = ("leave_plates_out", "leave_cells_out", "leave_treatments_out")
CELLS_FRACTION = 0.6
"""Share of a well's cells that train when cells are left out (the dissertation's)."""


class Cells(NamedTuple):
    """What is known of n cells: one row of a store's index each.

    Attributes:
      plate: Name of the plate.
      well: Name of the well.
      site: Name of the field of view.
      treatment: Name of the treatment.
      centre_yx: Position in the field, px.
    """

    plate: np.ndarray
    well: np.ndarray
    site: np.ndarray
    treatment: np.ndarray
    centre_yx: Float[np.ndarray, "n 2"]


class CellSplit(NamedTuple):
    """Rows of the cells on each side, ascending.

    Attributes:
      train: Rows that train.
      validation: Rows that validate the classifier, of the treatments that train.
      held_out: Rows that are used for neither: of treatments that were left out.
    """

    train: Int[np.ndarray, " a"]
    validation: Int[np.ndarray, " b"]
    held_out: Int[np.ndarray, " c"]


class Leakage(NamedTuple):
    """What training and validation have in common.

    Attributes:
      plates: Number of plates that are on both sides.
      wells: Number of wells (of one plate).
      cells: Number of cells.
      treatments_held_out: Treatments that train although they are held out.
      overlapping: Share of the validation cells whose crop shares pixels with a training crop.
    """

    plates: int
    wells: int
    cells: int
    treatments_held_out: int
    overlapping: float


def leave_plates_out(cells: Cells, plates: Sequence[str]) -> CellSplit:
    """Validates on whole plates.

    Args:
      cells: All cells.
      plates: Names of the plates for validation.
    Returns:
      The split; nothing is held out.
    Raises:
      UsageError: A plate is not there, or none is left to train.
    """
    known = list(dict.fromkeys(cells.plate.tolist()))
    if missing := [plate for plate in plates if plate not in known]:
        raise UsageError(f"no plate {missing[0]!r} to leave out; found: {', '.join(known)}")
    if not plates or set(plates) == set(known):
        raise UsageError(
            f"leaving {len(plates)} of {len(known)} plates out: at least one must validate and "
            "one must train"
        )
    return _by_mask(np.isin(cells.plate, list(plates)))


def leave_cells_out(cells: Cells, *, fraction: float = CELLS_FRACTION, seed: int = 0) -> CellSplit:
    """Validates on cells of the very wells that train.

    The result is optimistic: what is particular to a well is known from training.

    Args:
      cells: All cells.
      fraction: Share of the cells of every well that train, rounded; of a well with several cells
        at least one is on either side.
      seed: Which cells.
    Returns:
      The split; nothing is held out.
    Raises:
      UsageError: `fraction` is not between 0 and 1.
    """
    if not 0 < fraction < 1:
        raise UsageError(f"share of the cells that train: {fraction} found, between 0 and 1 wanted")
    validation = np.zeros(len(cells.plate), bool)
    rng = np.random.default_rng(seed)
    for rows in _groups(cells.plate, cells.well):
        n_train = int(np.clip(round(fraction * len(rows)), 1, max(len(rows) - 1, 1)))
        validation[rng.permutation(rows)[n_train:]] = True
    return _by_mask(validation)


def leave_treatments_out(
    cells: Cells, treatments: Sequence[str], *, fraction: float = CELLS_FRACTION, seed: int = 0
) -> CellSplit:
    """Holds the cells of some treatments out altogether, and splits the others' cells.

    Args:
      cells: All cells.
      treatments: Names of those that the network must never see.
      fraction: As in `leave_cells_out`.
      seed: As in `leave_cells_out`.
    Returns:
      The split.
    Raises:
      UsageError: A treatment is not there, or fewer than two are left to train.
    """
    known = list(dict.fromkeys(cells.treatment.tolist()))
    if missing := [name for name in treatments if name not in known]:
        raise UsageError(f"no treatment {missing[0]!r} to leave out among the {len(known)} found")
    if not treatments or len(set(known) - set(treatments)) < 2:
        raise UsageError(
            f"leaving {len(treatments)} of {len(known)} treatments out: at least two must train"
        )
    out = np.isin(cells.treatment, list(treatments))
    kept = np.flatnonzero(~out)
    inner = leave_cells_out(take(cells, kept), fraction=fraction, seed=seed)
    return CellSplit(kept[inner.train], kept[inner.validation], np.flatnonzero(out))


def by_column(values: np.ndarray, training: Sequence[str], validation: Sequence[str]) -> CellSplit:
    """Splits by what a column of the metadata says, as DeepProfiler's `split_field` does.

    Args:
      values: One a cell, texts or None.
      training: Values that train; none for all that do not validate.
      validation: Values that validate.
    Returns:
      The split; cells of other values are held out.
    Raises:
      UsageError: A value is on both sides, or a side is empty.
    """
    if both := sorted(set(training) & set(validation)):
        raise UsageError(f"split: {both[0]!r} is given for training and for validation")
    validates = np.isin(values, list(validation))
    trains = np.isin(values, list(training)) if training else ~validates
    if not trains.any() or not validates.any():
        side = "trains" if not trains.any() else "validates"
        found = ", ".join(sorted({str(value) for value in values})[:10])
        raise UsageError(f"split: no cell {side}; values found: {found}")
    return CellSplit(*(np.flatnonzero(m) for m in (trains, validates, ~(trains | validates))))


def take(cells: Cells, rows: Int[np.ndarray, " m"]) -> Cells:
    """Returns some of the cells, in the order of `rows`."""
    return Cells(*(column[rows] for column in cells))


def find_leakage(cells: Cells, split: CellSplit, *, side_px: int) -> Leakage:
    """Looks for what a split should have kept apart.

    Args:
      cells: All cells.
      split: Of `cells`.
      side_px: Side of the crops.
    Returns:
      Numbers; which of them should be 0 depends on the scheme.
    """
    train, validation = take(cells, split.train), take(cells, split.validation)
    held_out = set(cells.treatment[split.held_out].tolist())
    return Leakage(
        plates=len(set(train.plate.tolist()) & set(validation.plate.tolist())),
        wells=len(_pairs(train) & _pairs(validation)),
        cells=len(np.intersect1d(split.train, split.validation)),
        treatments_held_out=len(held_out & set(train.treatment.tolist())),
        overlapping=_overlapping(train, validation, side_px),
    )


def _pairs(cells: Cells) -> set[tuple[str, str]]:
    return set(zip(cells.plate.tolist(), cells.well.tolist(), strict=True))


def _overlapping(train: Cells, validation: Cells, side_px: int) -> float:
    if not len(validation.plate):
        return 0.0
    fields: dict[tuple[Any, ...], list[np.ndarray]] = {}
    for rows in _groups(train.plate, train.well, train.site):
        key = train.plate[rows[0]], train.well[rows[0]], train.site[rows[0]]
        fields[key] = [train.centre_yx[rows]]
    n_overlapping = 0
    for rows in _groups(validation.plate, validation.well, validation.site):
        key = validation.plate[rows[0]], validation.well[rows[0]], validation.site[rows[0]]
        if key in fields:
            between = validation.centre_yx[rows][:, None] - fields[key][0][None]
            near = (np.abs(between).max(axis=-1) < side_px).any(axis=1)
            n_overlapping += int(near.sum())
    return n_overlapping / len(validation.plate)


def _groups(*columns: np.ndarray) -> list[Int[np.ndarray, " m"]]:
    """Rows with equal values in all columns, ascending within a group."""
    if not len(columns[0]):
        return []
    codes = [np.unique(column, return_inverse=True)[1] for column in columns]
    order = np.lexsort(codes[::-1])
    changes = np.any([np.diff(code[order]) != 0 for code in codes], axis=0)
    return np.split(order, np.flatnonzero(changes) + 1)


def _by_mask(validation: Bool[np.ndarray, " n"]) -> CellSplit:
    return CellSplit(np.flatnonzero(~validation), np.flatnonzero(validation), np.zeros(0, np.int64))
