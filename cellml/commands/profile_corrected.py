"""What `cellml profile evaluate` and `report` do to profiles before they score them.

Features that too many rows lack are left out, the others normalised and, at several lambdas,
sphered. `cellml profile aggregate` offers the same, for wells and their sites.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Shaped

from cellml.data.profile_tables import ProfileTable
from cellml.errors import UsageError, UserError
from cellml.profiling.aggregate import group_codes
from cellml.profiling.correct import MAX_MISSING, TVN, correct, fit_correction
from cellml.profiling.sphering import sphere_sweep
from cellml.profiling.tvn import tvn_sweep

SPHERING = {
    "none": None,
    "zca": "ZCA",
    "pca": "PCA",
    "zca-cor": "ZCA-cor",
    "pca-cor": "PCA-cor",
    "tvn": TVN,
    "dissertation-printed": "dissertation-printed",
}
NORMALISATIONS = ("none", "standardize", "robustize", "mad_robustize", "percentile")
PLATE = "Metadata_Plate"
BATCHES = ("Metadata_Batch", "Metadata_batch", PLATE)
"""Columns that are taken for the batch, the first that there is."""


class Corrected(NamedTuple):
    """Profiles that are normalised but not yet sphered.

    Attributes:
      table: Of the rows that have a number.
      controls: Which rows are controls.
      batches: Batch of each row.
      batch_column: Where the batches come from; empty where there was nothing.
      dropped: Names of the features that were left out, by reason.
      notes: What was left out and filled in, for people.
    """

    table: ProfileTable
    controls: Bool[np.ndarray, " n"]
    batches: Shaped[np.ndarray, " n"]
    batch_column: str
    dropped: Mapping[str, tuple[str, ...]]
    notes: tuple[str, ...]


def check_correction(*, normalize: str, sphere: str, lambdas: Iterable[float | None]) -> None:
    """Checks options before anything is read.

    Args:
      normalize: To be one of `NORMALISATIONS`.
      sphere: To be a key of `SPHERING`.
      lambdas: To be 0 or more, or None.

    Raises:
      UsageError: One of them is not.
    """
    if normalize not in NORMALISATIONS:
        raise UsageError(f"--normalize {normalize}: expected one of {', '.join(NORMALISATIONS)}")
    if sphere not in SPHERING:
        raise UsageError(f"--sphere {sphere}: expected one of {', '.join(SPHERING)}")
    for value in lambdas:
        if value is not None and not value >= 0:
            raise UsageError(f"--lambda {value:g}: 0 or more expected")


def corrected(
    table: ProfileTable,
    controls: Bool[np.ndarray, " n"],
    *,
    normalize: str = "none",
    fill: bool = False,
    batch_column: str | None = None,
) -> Corrected:
    """Leaves out what has too few numbers, and normalises each plate by its controls.

    Args:
      table: One row a well or site.
      controls: Which rows are controls.
      normalize: One of `NORMALISATIONS`.
      fill: Put the median of the plate's controls where a number is missing; sphering needs it.
      batch_column: Batch of a row; the first of `BATCHES` that there is, if None.

    Returns:
      The profiles.

    Raises:
      UserError: No feature is left, a plate has no controls to be normalised by, or no such column.
    """
    batches, batch_column = _batches(table, batch_column)
    there = np.asarray((~np.isnan(table.features)).any(axis=1))
    notes = []
    if not there.all():
        notes.append(f"{int((~there).sum())} rows without any number were left out")
        table, controls, batches = table.take(there), controls[there], batches[there]
    if not controls.any() and normalize != "none":
        raise UserError(f"--normalize {normalize}: --control has to choose some rows, found none")
    names, plates = group_codes(table.column(PLATE) if PLATE in table.metadata else batches)
    if normalize != "none":
        for code, name in enumerate(names.tolist()):
            if not controls[plates == code].any():
                raise UserError(f"--normalize {normalize}: plate {name} has no control row")
    try:
        fitted = fit_correction(
            table.features,
            table.names,
            plates=plates,
            controls=controls,
            normalise=None if normalize == "none" else normalize,
            max_missing=MAX_MISSING,
            fill=fill,
        )
    except ValueError as error:
        raise UserError(f"profiles cannot be used: {error}") from error
    if left := fitted.dropped.get("often missing"):
        notes.append(
            f"{len(left)} features are missing in more than {MAX_MISSING:.0%} of the rows and were "
            f"left out (the first: {left[0]})"
        )
    if fitted.n_filled:
        notes.append(f"{fitted.n_filled} missing numbers became the median of the plate's controls")
    if fitted.n_floored:
        notes.append(
            f"{fitted.n_floored} pairs of plate and feature hardly vary among the controls; scaled "
            "by the spread of all rows"
        )
    values = correct(table.features, plates, fitted)
    table = replace(table, features=values, names=fitted.names)
    return Corrected(table, controls, batches, batch_column, fitted.dropped, tuple(notes))


def sphered_variants(
    profiles: Corrected, sphere: str, lambdas: Iterable[float | None]
) -> Iterator[tuple[float | None, Float[np.ndarray, "n r"]]]:
    """Spheres with several lambdas, one after the other in memory.

    Args:
      profiles: From `corrected` with `fill`.
      sphere: A key of `SPHERING` but "none".
      lambdas: None is the profiles as they are.

    Yields:
      Pairs of a lambda and features.

    Raises:
      UserError: Fewer than two controls, or they cannot be decomposed.
    """
    controls, method = profiles.controls, SPHERING[sphere]
    if int(controls.sum()) < 2:
        raise UserError(
            f"--sphere {sphere}: --control has to choose at least 2 rows, found "
            f"{int(controls.sum())}"
        )
    features = profiles.table.features
    try:
        if method == TVN:
            yield from tvn_sweep(features, controls, profiles.batches, lambdas)
        elif method is not None:
            yield from sphere_sweep(features, features[controls], lambdas, method=method)
    except ValueError as error:
        raise UserError(f"--sphere {sphere}: {error}") from error


def sphering_in_words(profiles: Corrected, sphere: str, regularisation: float) -> str:
    """How profiles were sphered.

    Args:
      profiles: From `corrected`.
      sphere: A key of `SPHERING`.
      regularisation: Lambda.

    Returns:
      Words for people.
    """
    if SPHERING[sphere] is None:
        return "none"
    aligned = f", batches of {profiles.batch_column} aligned by theirs" if sphere == "tvn" else ""
    return (
        f"{SPHERING[sphere]} of all rows together, by the covariance of the "
        f"{int(profiles.controls.sum())} controls{aligned}, lambda {regularisation:g} on its "
        "eigenvalues, float64"
    )


def _batches(table: ProfileTable, column: str | None) -> tuple[np.ndarray, str]:
    if column is None:
        there = [name for name in BATCHES if name in table.metadata.columns]
        if not there:
            return np.full(len(table.features), "all"), ""
        column = there[0]
    return table.column(column), column
