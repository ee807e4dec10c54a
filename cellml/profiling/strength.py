"""Strength of treatments: how far their wells lie from the controls of their plate."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Integer

from cellml.profiling.normalize import quantile


class Strength(NamedTuple):
    """Strength of t treatments.

    Attributes:
      treatment: Codes, ascending.
      total: Sum of the z-scores of the wells, as in the dissertation. Grows with replicates.
      mean: Mean of the z-scores of the wells.
      n_wells: Wells of the treatment that have a z-score.
      well_z: z-score of every profile, controls included; NaN where its plate has no spread of
        control distances or its profile is not finite.
    """

    treatment: Int[np.ndarray, " t"]
    total: Float[np.ndarray, " t"]
    mean: Float[np.ndarray, " t"]
    n_wells: Int[np.ndarray, " t"]
    well_z: Float[np.ndarray, " n"]


def treatment_strength(
    profiles: Float[np.ndarray, "n f"],
    plates: Integer[np.ndarray, " n"],
    treatments: Integer[np.ndarray, " n"],
    controls: Bool[np.ndarray, " n"],
) -> Strength:
    """Ranks treatments by their distance from the controls, in units of the controls' spread.

    Per plate: the median profile of the controls; the Euclidean distance of every well to it; the
    z-score of that by mean and standard deviation (over n) of the control distances.

    Args:
      profiles: Wells; the dissertation takes CellProfiler features sphered with lambda 1e-2.
      plates: Plate of each well.
      treatments: Treatment of each well; negative ones and controls get no strength.
      controls: Which wells are controls.

    Returns:
      Strengths. NaN for a treatment none of whose wells has a z-score.

    Raises:
      ValueError: Lengths differ, or a plate with treatments has fewer than two finite controls.
    Source: the dissertation, chapter on Cell Painting, algorithm 1.
    """
    n = len(profiles)
    for name, value in (("plates", plates), ("treatments", treatments), ("controls", controls)):
        if value.shape != (n,):
            raise ValueError(f"{name} has shape {value.shape}, expected one entry for each of {n}")
    values = profiles.astype(np.float64)
    finite = np.isfinite(values).all(1)
    z = np.full(n, np.nan)
    for plate in np.unique(plates):
        rows = (plates == plate) & finite
        reference = rows & controls
        if reference.sum() < 2:
            if (rows & ~controls & (treatments >= 0)).any():
                raise ValueError(
                    f"plate {plate} has {reference.sum()} finite control wells, expected 2 or more"
                )
            continue
        centre = quantile(values[reference], 0.5)
        distance = np.linalg.norm(values[rows] - centre, axis=1)
        of_controls = distance[reference[rows]]
        spread = of_controls.std()
        if spread > 1e-12 * of_controls.mean():
            z[rows] = (distance - of_controls.mean()) / spread
    treated = (treatments >= 0) & ~controls
    codes, group = np.unique(treatments[treated], return_inverse=True)
    scored = ~np.isnan(z[treated])
    count = np.bincount(group[scored], minlength=codes.size)
    total = np.bincount(group[scored], z[treated][scored], minlength=codes.size)
    total = np.where(count > 0, total, np.nan)
    return Strength(codes.astype(np.int64), total, total / np.maximum(count, 1), count, z)


def strongest(values: Float[np.ndarray, " t"], n: int) -> Int[np.ndarray, " s"]:
    """Indices of the n largest values, descending; NaN never, ties by index."""
    order = np.argsort(-np.where(np.isnan(values), -np.inf, values), kind="stable")
    return order[: min(n, int((~np.isnan(values)).sum()))]


def pairs_in_order(
    values: Float[np.ndarray, " t"],
    truth: Float[np.ndarray, " t"],
    groups: Integer[np.ndarray, " t"],
) -> tuple[int, int]:
    """Counts pairs of one group and different truth, and those of them that the values order alike.

    Args:
      values: Found strengths; NaN makes no pair.
      truth: True strengths, comparable within a group; NaN makes no pair.
      groups: Such as mechanisms; -1 makes no pair.

    Returns:
      Pairs in the right order (equal values are not), and all pairs.
    """
    usable = np.isfinite(values) & np.isfinite(truth) & (groups >= 0)
    values, truth, groups = values[usable], truth[usable], groups[usable]
    pair = (truth[:, None] > truth[None, :]) & (groups[:, None] == groups[None, :])
    return int((pair & (values[:, None] > values[None, :])).sum()), int(pair.sum())
