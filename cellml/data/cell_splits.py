"""Which single cells train, validate, or are held out; and what the sides have in common."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from cellml.data.coded_columns import Coded
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

    plate: Coded
    well: Coded
    site: Coded
    treatment: Coded
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
    known = cells.plate.occurring()
    if missing := [plate for plate in plates if plate not in known]:
        raise UsageError(f"no plate {missing[0]!r} to leave out; found: {', '.join(known)}")
    if not plates or set(plates) == set(known):
        raise UsageError(
            f"leaving {len(plates)} of {len(known)} plates out: at least one must validate and "
            "one must train"
        )
    return _by_mask(cells.plate.isin(plates))


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
    for rows in _groups(cells.plate, cells.well).values():
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
    known = cells.treatment.occurring()
    if missing := [name for name in treatments if name not in known]:
        raise UsageError(f"no treatment {missing[0]!r} to leave out among the {len(known)} found")
    if not treatments or len(set(known) - set(treatments)) < 2:
        raise UsageError(
            f"leaving {len(treatments)} of {len(known)} treatments out: at least two must train"
        )
    out = cells.treatment.isin(treatments)
    kept = np.flatnonzero(~out)
    inner = leave_cells_out(take(cells, kept), fraction=fraction, seed=seed)
    return CellSplit(kept[inner.train], kept[inner.validation], np.flatnonzero(out))


def by_column(values: Coded, training: Sequence[str], validation: Sequence[str]) -> CellSplit:
    """Splits by what a column of the metadata says, as DeepProfiler's `split_field` does.

    Args:
      values: One a cell.
      training: Values that train; none for all that do not validate.
      validation: Values that validate.
    Returns:
      The split; cells of other values are held out.
    Raises:
      UsageError: A value is on both sides, or a side is empty.
    """
    if both := sorted(set(training) & set(validation)):
        raise UsageError(f"split: {both[0]!r} is given for training and for validation")
    validates = values.isin(validation)
    trains = values.isin(training) if training else ~validates
    if not trains.any() or not validates.any():
        side = "trains" if not trains.any() else "validates"
        found = ", ".join(values.occurring()[:10])
        raise UsageError(f"split: no cell {side}; values found: {found}")
    return CellSplit(*(np.flatnonzero(m) for m in (trains, validates, ~(trains | validates))))


def take(cells: Cells, rows: Int[np.ndarray, " m"]) -> Cells:
    """Returns some of the cells, in the order of `rows`."""
    names = (cells.plate, cells.well, cells.site, cells.treatment)
    return Cells(*(column.take(rows) for column in names), centre_yx=cells.centre_yx[rows])


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
    held_out = set(cells.treatment.take(split.held_out).occurring())
    return Leakage(
        plates=len(set(train.plate.occurring()) & set(validation.plate.occurring())),
        wells=len(np.intersect1d(_places(train.plate, train.well), _places(*validation[:2]))),
        cells=len(np.intersect1d(split.train, split.validation)),
        treatments_held_out=len(held_out & set(train.treatment.occurring())),
        overlapping=_overlapping(train, validation, side_px),
    )


def _overlapping(train: Cells, validation: Cells, side_px: int) -> float:
    if not len(validation.plate):
        return 0.0
    fields = {
        place: train.centre_yx[rows]
        for place, rows in _groups(train.plate, train.well, train.site).items()
    }
    n_overlapping = 0
    groups = _groups(validation.plate, validation.well, validation.site)
    for place, rows in groups.items():
        if place in fields:
            between = validation.centre_yx[rows][:, None] - fields[place][None]
            near = (np.abs(between).max(axis=-1) < side_px).any(axis=1)
            n_overlapping += int(near.sum())
    return n_overlapping / len(validation.plate)


def _places(*columns: Coded) -> Int[np.ndarray, " n"]:
    """One number for each combination of texts; the same for cells of columns with equal names."""
    place = np.zeros(len(columns[0]), np.int64)
    for column in columns:
        place = place * (len(column.names) + 1) + column.codes + 1
    return place


def _groups(*columns: Coded) -> dict[int, Int[np.ndarray, " m"]]:
    """Rows with equal texts in all columns, ascending within a group, by `_places`."""
    place = _places(*columns)
    order = np.argsort(place, kind="stable")
    names, starts = np.unique(place[order], return_index=True)
    return dict(zip(names.tolist(), np.split(order, starts[1:]), strict=True)) if len(names) else {}


def _by_mask(validation: Bool[np.ndarray, " n"]) -> CellSplit:
    return CellSplit(np.flatnonzero(~validation), np.flatnonzero(validation), np.zeros(0, np.int64))
