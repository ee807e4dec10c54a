"""Scores over a sweep of settings, such as the regularisation of sphering; the whole table, always.

Moshkov et al. chose lambda per data set and feature set by the score itself. A single best value is
therefore optimistic: report the table.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from cellml.metrics.protocols import RetrievalScores

LAMBDAS = (None, 1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8)
"""The regularisations that were compared; None is no sphering."""


class SweepRow(NamedTuple):
    """Scores at one setting; `setting` None is the profiles as they came."""

    setting: float | None
    scores: RetrievalScores


def sweep(
    variants: Iterable[tuple[float | None, Any]], score: Callable[[Any], RetrievalScores]
) -> tuple[SweepRow, ...]:
    """Scores every variant of the profiles, one in memory at a time.

    Args:
      variants: Pairs of a setting and the profiles under it, made one by one, as
        `cellml.profiling.sphering.sphere_sweep` does.
      score: For example `evaluate_retrieval` with its relation bound.

    Returns:
      A row per variant, in their order.
    """
    return tuple(SweepRow(setting, score(profiles)) for setting, profiles in variants)


def best_of(rows: Iterable[SweepRow], *, by: str = "map") -> SweepRow:
    """Returns the row with the highest score, the first of equal ones.

    Args:
      rows: Of one sweep.
      by: Name of a number in `RetrievalScores`.

    Returns:
      The best row; NaN loses.

    Raises:
      ValueError: There is no row, or the score is NaN everywhere.
    """
    rows = [row for row in rows if not np.isnan(getattr(row.scores, by))]
    if not rows:
        raise ValueError(f"no setting has a score {by!r}")
    return max(rows, key=lambda row: getattr(row.scores, by))
