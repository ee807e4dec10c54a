"""From raw profiles of wells to corrected ones, and the same for their sites.

The steps, each optional, in this order: normalisation against the controls of each plate, feature
selection, sphering by all controls. They are fitted on wells and kept, because sites have to be
moved exactly as their wells were.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Integer, Shaped

from cellml.profiling.aggregate import group_codes
from cellml.profiling.normalize import Normalised, normalise_profiles, quantile
from cellml.profiling.select import BLOCKLIST, DEFAULT_RULES, select_features
from cellml.profiling.sphering import ControlSpectrum, control_spectrum, sphere
from cellml.profiling.tvn import Tvn, apply_tvn, fit_tvn

MAX_MISSING = 0.05
"""Sphering drops features that more than this share of the wells lack, and fills in the others."""
TVN = "TVN"
"""Stands for `cellml.profiling.tvn` among the methods of sphering."""
ROWS = 4096
"""Profiles that are corrected at a time."""


class Correction(NamedTuple):
    """What was fitted.

    Attributes:
      names: Of the features that come out.
      plates: Codes of the plates, ascending.
      centre, scale: Of the normalisation, per plate, of the features kept.
      keep: Features kept.
      fill: Per plate, for a missing number after normalisation; None leaves it missing.
      spectrum: Of the controls; None without sphering, and for TVN.
      tvn: What TVN was fitted to; None with any other sphering.
      method: Of the sphering.
      regularisation: Lambda of the sphering.
      dropped: Names that each rule dropped.
      n_floored: Pairs of plate and feature in which the scale was replaced, as in
        `normalise_profiles`.
      n_filled: Numbers that were filled in.
    """

    names: tuple[str, ...]
    plates: Int[np.ndarray, " p"]
    centre: Float[np.ndarray, "p k"]
    scale: Float[np.ndarray, "p k"]
    keep: Bool[np.ndarray, " f"]
    fill: Float[np.ndarray, "p k"] | None
    spectrum: ControlSpectrum | None
    tvn: Tvn | None
    method: str
    regularisation: float
    dropped: Mapping[str, tuple[str, ...]]
    n_floored: int
    n_filled: int


def fit_correction(
    wells: Float[np.ndarray, "w f"],
    names: Sequence[str],
    *,
    plates: Integer[np.ndarray, " w"],
    controls: Bool[np.ndarray, " w"],
    normalise: str | None = None,
    rules: Sequence[str] = (),
    blocklist: Sequence[str] = BLOCKLIST,
    rule_options: Mapping[str, Mapping[str, Any]] | None = None,
    groups: Integer[np.ndarray, " w"] | None = None,
    sphering: str | None = None,
    regularisation: float = 1e-2,
    batches: Shaped[np.ndarray, " w"] | None = None,
    max_missing: float | None = None,
    fill: bool = False,
) -> Correction:
    """Fits the steps on the profiles of wells.

    Args:
      wells: NaN is a missing number.
      names: Of the features.
      plates: Plate of each well.
      controls: Wells that normalisation and sphering are fitted on.
      normalise: A method of `normalise_profiles`; None leaves the profiles as they are.
      rules: Of `select_features`.
      blocklist: Likewise.
      rule_options: Likewise, `options` there.
      groups: Likewise: treatment of each well, for the rule "noise_removal".
      sphering: A method of `sphere`, `TVN`, or None.
      regularisation: Lambda of the sphering.
      batches: Batch of each well, for `TVN`.
      max_missing: Features that more than this share of the wells lack are dropped; None is
        `MAX_MISSING` before sphering, and else no limit.
      fill: Fill in missing numbers also without sphering, which needs it.

    Returns:
      What `correct` needs.

    Raises:
      ValueError: As for the functions named; or no feature is left.
    """
    plate_codes, plate = group_codes(plates)
    keep = np.asarray(np.isfinite(wells).any(0))
    dropped = {"no number": _named(names, ~keep)}
    if normalise is None:
        shape = plate_codes.size, wells.shape[1]
        unchanged = np.zeros(shape), np.ones(shape), np.zeros(shape, bool)
        fitted = Normalised(wells, plate_codes, *unchanged)
    else:
        fitted = normalise_profiles(wells, method=normalise, plates=plate, controls=controls)
    values = fitted.values
    if max_missing is None and sphering is not None:
        max_missing = MAX_MISSING
    if max_missing is not None:
        missing = keep & (np.isnan(values).mean(0) > max_missing)
        dropped["often missing"] = _named(names, missing)
        keep &= ~missing
    if rules:
        at = np.flatnonzero(keep)
        chosen, by_rule = select_features(
            values[:, at],
            [names[i] for i in at.tolist()],
            rules=rules,
            blocklist=blocklist,
            groups=groups,
            options=rule_options,
        )
        keep[at[~chosen]] = False
        dropped |= by_rule
    if not keep.any():
        raise ValueError(f"no feature is left of {len(names)}")
    values, kept = values[:, keep], _named(names, keep)
    filled, spectrum, fitted_tvn, n_filled = None, None, None, 0
    if sphering is not None or fill:
        filled = _fill(values, plate, controls, plate_codes.size)
        n_filled = int(np.isnan(values).sum())
        values = np.where(np.isnan(values), filled[plate], values)
    if sphering is not None:
        if sphering == TVN:
            if batches is None:
                raise ValueError("TVN needs the batch of every well")
            fitted_tvn = fit_tvn(values[controls], batches[controls], regularisation=regularisation)
        else:
            spectrum = control_spectrum(values[controls], method=sphering)
        components = spectrum if fitted_tvn is None else fitted_tvn.spectrum
        if components is not None and (sphering == TVN or sphering.startswith("PCA")):
            kept = tuple(f"PC_{i + 1}" for i in range(int((components.eigenvalues > 0).sum())))
    return Correction(
        names=kept,
        plates=plate_codes,
        centre=fitted.centre[:, keep],
        scale=fitted.scale[:, keep],
        keep=keep,
        fill=filled,
        spectrum=spectrum,
        tvn=fitted_tvn,
        method=sphering or "none",
        regularisation=regularisation,
        dropped={rule: found for rule, found in dropped.items() if found},
        n_floored=int(fitted.floored[:, keep].sum()),
        n_filled=n_filled,
    )


def correct(
    profiles: Float[np.ndarray, "n f"],
    plates: Integer[np.ndarray, " n"],
    correction: Correction,
    *,
    batches: Shaped[np.ndarray, " n"] | None = None,
) -> Float[np.ndarray, "n k"]:
    """Moves profiles as the wells of their plates were.

    Args:
      profiles: Wells or sites with the features that were fitted on.
      plates: Plate of each, among those fitted on.
      correction: From `fit_correction`.
      batches: Batch of each, for TVN.

    Returns:
      In the dtype of the profiles, computed in float64.

    Raises:
      ValueError: A plate or batch was not fitted on.
    """
    at = np.searchsorted(correction.plates, plates)
    at = np.minimum(at, correction.plates.size - 1)
    if (correction.plates[at] != plates).any():
        raise ValueError("a plate was not among those that the correction was fitted on")
    result = np.empty((len(profiles), len(correction.names)), profiles.dtype)
    for start in range(0, len(profiles), ROWS):
        rows = slice(start, start + ROWS)
        values = profiles[rows, correction.keep].astype(np.float64)
        values = (values - correction.centre[at[rows]]) / correction.scale[at[rows]]
        if correction.fill is not None:
            values = np.where(np.isnan(values), correction.fill[at[rows]], values)
        if correction.tvn is not None:
            if batches is None:
                raise ValueError("TVN needs the batch of every profile")
            values = apply_tvn(values, batches[rows], correction.tvn)
        elif correction.spectrum is not None:
            values = sphere(
                values,
                correction.spectrum,
                method=correction.method,
                regularisation=correction.regularisation,
            )
        result[rows] = values
    return result


def selection_rules(normalised: bool) -> tuple[str, ...]:
    """Rules of feature selection: pycytominer's, without its bound of 500 on raw features."""
    return tuple(rule for rule in DEFAULT_RULES if normalised or rule != "drop_outliers")


def _fill(values: np.ndarray, plate: np.ndarray, controls: np.ndarray, n: int) -> np.ndarray:
    """Median of the plate's controls; where they have no number, of all wells."""
    overall = quantile(values.astype(np.float64), 0.5)
    fill = np.tile(overall, (n, 1))
    for p in range(n):
        rows = values[(plate == p) & controls]
        if len(rows):
            of_plate = quantile(rows.astype(np.float64), 0.5)
            fill[p] = np.where(np.isnan(of_plate), overall, of_plate)
    return fill


def _named(names: Sequence[str], chosen: Any) -> tuple[str, ...]:
    return tuple(str(names[i]) for i in np.flatnonzero(chosen).tolist())
