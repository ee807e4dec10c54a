"""Cells to sites (median), sites to wells (mean), wells to treatments (mean), NaN left out.

Groups are given as integer codes, one per row, of any sizes and in any order. A row with a negative
code belongs to no group. On the host, in float64 within a group; memory is that of one group.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Integer, Shaped


class Profiles(NamedTuple):
    """Profiles at three levels; a group without a number is NaN.

    Attributes:
      site: Median over the cells of each site.
      well: Mean over the sites of each well.
      treatment: Mean over the wells of each treatment.
      cells_per_site: Cells with at least one number.
    """

    site: Float[np.ndarray, "s f"]
    well: Float[np.ndarray, "w f"]
    treatment: Float[np.ndarray, "t f"]
    cells_per_site: Int[np.ndarray, " s"]


def aggregate(
    cells: Float[np.ndarray, "n f"],
    site_of_cell: Integer[np.ndarray, " n"],
    well_of_site: Integer[np.ndarray, " s"],
    treatment_of_well: Integer[np.ndarray, " w"],
) -> Profiles:
    """Aggregates single cells as the dissertation does.

    Args:
      cells: Features of the cells; NaN is a missing number.
      site_of_cell: Site of each cell, in 0..s-1, or negative.
      well_of_site: Well of each site, in 0..w-1, or negative.
      treatment_of_well: Treatment of each well, or negative.

    Returns:
      Profiles of all sites, wells and treatments. A site without cells does not weigh in its well.

    Raises:
      ValueError: A code is beyond the number of groups.
    """
    n_treatments = int(treatment_of_well.max(initial=-1)) + 1
    site = group_median(cells, site_of_cell, n_groups=well_of_site.size)
    well = group_mean(site, well_of_site, n_groups=treatment_of_well.size)
    treatment = group_mean(well, treatment_of_well, n_groups=n_treatments)
    has_number = (~np.isnan(cells)).any(1) & (site_of_cell >= 0)
    count = np.bincount(site_of_cell[has_number], minlength=well_of_site.size)
    return Profiles(site, well, treatment, count)


def group_codes(
    keys: Shaped[np.ndarray, " n"],
) -> tuple[Shaped[np.ndarray, " g"], Int[np.ndarray, " n"]]:
    """Returns the distinct keys, sorted, and the code of each row (its index among them)."""
    distinct, codes = np.unique(keys, return_inverse=True)
    return distinct, codes.astype(np.int64)


def group_median(
    values: Float[np.ndarray, "n f"], codes: Integer[np.ndarray, " n"], *, n_groups: int
) -> Float[np.ndarray, "g f"]:
    """Median of every feature over the rows of each group.

    Args:
      values: NaN is a missing number.
      codes: Group of each row, or negative.
      n_groups: Number of groups.

    Returns:
      NaN where a group has no number. In the dtype of `values`.

    Raises:
      ValueError: A code is `n_groups` or more, or there is not one code per row.
    """
    result = np.full((n_groups, values.shape[1]), np.nan, values.dtype)
    for group, rows in _groups(codes, len(values), n_groups):
        result[group] = _median(values[rows])
    return result


def group_mean(
    values: Float[np.ndarray, "n f"], codes: Integer[np.ndarray, " n"], *, n_groups: int
) -> Float[np.ndarray, "g f"]:
    """Mean of every feature over the rows of each group; arguments and errors as in `group_median`.

    Returns:
      NaN where a group has no number. Summed in float64, in the dtype of `values`.
    """
    result = np.full((n_groups, values.shape[1]), np.nan, values.dtype)
    for group, rows in _groups(codes, len(values), n_groups):
        part = values[rows]
        there = ~np.isnan(part)
        count = there.sum(0)
        total = np.where(there, part, 0).sum(0, dtype=np.float64)
        result[group] = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return result


def _groups(codes: np.ndarray, n_rows: int, n_groups: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yields each group that has rows, with their indices in ascending order."""
    if codes.size != n_rows:
        raise ValueError(f"found {codes.size} codes for {n_rows} rows")
    if codes.max(initial=-1) >= n_groups:
        raise ValueError(f"code {codes.max()} found, expected below {n_groups}")
    order = np.argsort(codes, kind="stable")
    order = order[codes[order] >= 0]
    present, start = np.unique(codes[order], return_index=True)
    end = np.append(start[1:], order.size)[: present.size]
    for group, first, last in zip(present, start, end, strict=True):
        yield int(group), order[first:last]


def _median(part: np.ndarray) -> np.ndarray:
    """Column medians without NaN; NaN, and no warning, where a column has no number."""
    count = (~np.isnan(part)).sum(0)
    ascending = np.sort(part, axis=0)  # NaN goes to the end
    column = np.arange(part.shape[1])
    low = ascending[np.maximum(count - 1, 0) // 2, column].astype(np.float64)
    high = ascending[np.minimum(count // 2, len(part) - 1), column].astype(np.float64)
    return np.where(count > 0, (low + high) / 2, np.nan)
