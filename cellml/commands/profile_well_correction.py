"""Corrections of `cellml profile aggregate`: fitted on wells, applied to their sites as well."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Shaped

from cellml.commands.long_work import count
from cellml.commands.profile_corrected import BATCHES, SPHERING, check_correction
from cellml.commands.profile_fields import KEY_COLUMNS, TREATMENT
from cellml.commands.profile_selection import parse_rules, read_blocklist
from cellml.data.profile_files import ProfileRows
from cellml.data.text_tables import suggestion
from cellml.errors import UsageError, UserError
from cellml.profiling.aggregate import group_codes
from cellml.profiling.correct import Correction, correct, fit_correction

NORMALIZE_BY = ("plate", "all")
"""Which controls a well is normalised against: its plate's, or those of all plates together."""


@dataclass(frozen=True)
class CorrectionOptions:
    """What the user asked for.

    Attributes:
      normalize: One of `NORMALISATIONS`, against the controls.
      select_features: Whether to drop features as pycytominer does; implied by the next two.
      rules: As of `parse_rules`; the usual ones, if empty.
      blocklist: File of features that are never wanted; pycytominer's, if None.
      sphere: A key of `SPHERING`.
      regularisation: Lambda of the sphering.
      batch_column: Batch of a well, for TVN; the first of `BATCHES` that there is, if None.
      normalize_by: One of `NORMALIZE_BY`. A plate with a handful of controls has no reliable
        standard deviations; all plates together have, and sphering takes out what plates differ in.
    """

    normalize: str = "none"
    select_features: bool = False
    rules: Sequence[str] = ()
    blocklist: Path | None = None
    sphere: str = "none"
    regularisation: float = 1e-2
    batch_column: str | None = None
    normalize_by: str = "plate"

    def check(self) -> None:
        """Raises UsageError where an option is none of those that there are."""
        lambdas = [self.regularisation]
        check_correction(normalize=self.normalize, sphere=self.sphere, lambdas=lambdas)
        parse_rules(self.rules, normalised=True)
        if self.normalize_by not in NORMALIZE_BY:
            raise UsageError(
                f"--normalize-by {self.normalize_by}: expected one of {', '.join(NORMALIZE_BY)}"
            )

    @property
    def needs_controls(self) -> bool:
        """Whether anything is fitted on controls."""
        return (self.normalize, self.sphere) != ("none", "none")

    @property
    def selects(self) -> bool:
        """Whether features are dropped."""
        return self.select_features or bool(self.rules) or self.blocklist is not None


class WellCorrection(NamedTuple):
    """What was fitted on wells.

    Attributes:
      fitted: On the wells.
      plates: Codes of the plates by name; all 0 where they were normalised together.
      batch_column: Where the batches are; empty where everything is one batch.
    """

    fitted: Correction
    plates: Mapping[str, int]
    batch_column: str


def fit_wells(
    wells: ProfileRows,
    names: Sequence[str],
    controls: Bool[np.ndarray, " w"],
    options: CorrectionOptions,
) -> WellCorrection:
    """Fits the correction.

    Args:
      wells: Those with a number.
      names: Of the features.
      controls: Which wells are controls.
      options: See `CorrectionOptions`.

    Returns:
      What `correct_rows` needs.

    Raises:
      UserError: A plate has no control to be normalised against, no feature is left, or as for
        `fit_correction`.
    """
    plates, plate = group_codes(_texts(wells, KEY_COLUMNS[0]))
    if options.normalize_by == "all":
        plate = np.zeros_like(plate)
        codes = {str(name): 0 for name in plates.tolist()}
    else:
        codes = {str(name): code for code, name in enumerate(plates.tolist())}
    if options.normalize != "none" and options.normalize_by == "plate":
        for code, name in enumerate(plates.tolist()):
            if not controls[plate == code].any():
                raise UserError(f"plate {name}: no control well to normalise against")
    rules, settings = (), {}
    if options.selects:
        rules, settings = parse_rules(options.rules, normalised=options.normalize != "none")
    batch_column = _batch_column(wells, options)
    try:
        fitted = fit_correction(
            wells.values,
            names,
            plates=plate,
            controls=controls,
            normalise=None if options.normalize == "none" else options.normalize,
            rules=rules,
            blocklist=read_blocklist(options.blocklist) if options.selects else (),
            rule_options=settings,
            groups=group_codes(_texts(wells, TREATMENT))[1],
            sphering=SPHERING[options.sphere],
            regularisation=options.regularisation,
            batches=_batches(wells, batch_column),
        )
    except ValueError as error:
        raise UserError(f"profiles cannot be corrected: {error}") from error
    return WellCorrection(fitted, codes, batch_column)


def correct_rows(rows: ProfileRows, correction: WellCorrection) -> ProfileRows:
    """Corrects wells or sites of the plates that were fitted on.

    Args:
      rows: Wells or sites.
      correction: From `fit_wells`.

    Returns:
      The same rows; those without a number stay without.

    Raises:
      UserError: A site's batch has no control.
    """
    codes = correction.plates
    plate = np.array([codes.get(name, -1) for name in rows.metadata[KEY_COLUMNS[0]]], np.int64)
    there = np.isfinite(rows.values).any(1) & (plate >= 0)
    values = np.full((len(plate), len(correction.fitted.names)), np.nan, np.float32)
    batches = _batches(rows, correction.batch_column)
    try:
        values[there] = correct(
            rows.values[there], plate[there], correction.fitted, batches=batches[there]
        )
    except ValueError as error:
        raise UserError(f"profiles cannot be corrected: {error}") from error
    return rows._replace(values=values)


def notes_of(correction: WellCorrection) -> Iterator[str]:
    """What was dropped, replaced and filled in, for people."""
    fitted = correction.fitted
    for rule, names in fitted.dropped.items():
        yield f"{rule}: {count(len(names), 'feature')} dropped (the first: {names[0]})"
    if fitted.n_floored:
        yield (
            f"warning: {count(fitted.n_floored, 'pair')} of plate and feature hardly vary among "
            "the controls; scaled by the spread of all wells"
        )
    if fitted.n_filled:
        yield f"{fitted.n_filled} missing numbers became the median of the plate's controls"


def _batch_column(wells: ProfileRows, options: CorrectionOptions) -> str:
    if (column := options.batch_column) is None:
        return next((name for name in BATCHES if name in wells.metadata), "")
    if column not in wells.metadata:
        raise UserError(f"no column {column!r}{suggestion(column, wells.metadata)}")
    return column


def _batches(rows: ProfileRows, column: str) -> Shaped[np.ndarray, " n"]:
    if not column:
        return np.full(len(rows.n_cells), "all")
    return _texts(rows, column)


def _texts(rows: ProfileRows, column: str) -> Shaped[np.ndarray, " n"]:
    return np.array(rows.metadata.get(column, [""] * len(rows.n_cells)), dtype=str)
