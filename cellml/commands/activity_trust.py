"""How far predictions can be trusted: calibration, spread, and similarity to the training part."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int

from cellml.commands.activity_inputs import CompoundFolds
from cellml.commands.activity_scores import SCORES, score_readouts
from cellml.data.assay_tables import AssayTable
from cellml.data.fingerprints import structure_fingerprints
from cellml.metrics import calibration
from cellml.metrics.predictor_tests import SIMILARITY_EDGES, similarity_strata
from cellml.ops.tanimoto import nearest_tanimoto
from cellml.report.activity_trust_results import (
    Curve,
    Reliability,
    Spread,
    Stratum,
    Trust,
    curve_of,
)

RADIUS, SIZE = 2, 2048
"""Of the Morgan bits by which compounds are compared (ECFP4)."""


@dataclass(frozen=True)
class Prediction:
    """What a predictor says of every compound; NaN where nothing.

    Attributes:
      values: Probabilities of a hit or of each class, or values.
      spread: Standard deviations, if the files have them.
    """

    values: Float[np.ndarray, "n t *c"]
    spread: Float[np.ndarray, "n t"] | None = None

    @property
    def there(self) -> np.ndarray:
        """Readouts that are predicted [n t]."""
        missing = np.isnan(self.values)
        return np.logical_not(missing if missing.ndim == 2 else missing.any(axis=2))


@dataclass(frozen=True)
class Nearest:
    """The most similar compound of the training part, for each held-out one.

    Attributes:
      similarity: Tanimoto similarity; NaN for compounds that are not held out or not readable.
      row: Its row in the table, -1 for none.
    """

    similarity: Float[np.ndarray, " n"]
    row: Int[np.ndarray, " n"]


def reliability_of(labels: Float[np.ndarray, "n t"], p: Float[np.ndarray, "n t"]) -> Reliability:
    """Calibration of probabilities, all assays pooled.

    Args:
      labels: 1 hit, 0 no hit, NaN is left out.
      p: Probabilities, likewise.

    Returns:
      Errors and curves.
    """
    known = ~np.isnan(labels) & ~np.isnan(p)
    p = np.where(known, np.clip(p, 0, 1), np.nan).astype(np.float32)
    curves, errors = [], []
    for edges in (calibration.even_edges(), calibration.equal_count_edges(p)):
        bins = calibration.reliability_bins(labels, p, edges).pooled()
        errors.append(float(calibration.expected_calibration_error(bins)[0]))
        count, predicted, observed = (np.asarray(x)[0] for x in bins)
        n = np.maximum(count, 1)
        curves.append(curve_of(predicted / n, observed / n, count))
    count = known.sum(0)
    rate = np.where(known, labels, 0).sum(0) / np.maximum(count, 1)
    brier = np.nan_to_num(np.asarray(calibration.brier_score(labels, p), np.float64))
    total = max(int(count.sum()), 1)
    of_rate = float((rate * (1 - rate) * count).sum() / total)
    even, equal_count = curves
    return Reliability(
        errors[0], errors[1], float((brier * count).sum() / total), of_rate, even, equal_count
    )


def spread_of(
    kind: str,
    labels: Float[np.ndarray, "n t"],
    values: Float[np.ndarray, "n t"],
    spread: Float[np.ndarray, "n t"],
) -> Spread | None:
    """Error against spread, all assays pooled.

    Args:
      kind: "binary" or "regression".
      labels: NaN is left out.
      values: Predictions, likewise.
      spread: Standard deviations, likewise.

    Returns:
      The comparison; None if no spread differs from 0, as for a single model.
    """
    if not (np.nan_to_num(spread) > 0).any():
        return None
    rank = np.asarray(calibration.spread_rank_correlation(labels, values, spread))
    scale = np.ones(labels.shape[1])
    if kind == "regression":
        known = ~np.isnan(labels)
        mean = np.where(known, labels, 0).sum(0) / np.maximum(known.sum(0), 1)
        variance = np.where(known, (labels - mean) ** 2, 0).sum(0) / np.maximum(known.sum(0), 1)
        scale = np.where(variance > 0, np.sqrt(variance), 1)
    flat = [(x / scale).astype(np.float32).reshape(-1, 1) for x in (labels, values, spread)]
    bins = calibration.spread_bins(*flat)
    covered = {}
    if kind == "regression":
        shares = calibration.interval_coverage(*flat)[0].tolist()
        covered = {f"{level:g}": s for level, s in zip(calibration.LEVELS, shares, strict=True)}
    count, width, error = (np.asarray(x)[0] for x in bins)
    return Spread(
        curve_of(width, error, count),
        float(calibration.spread_error(bins)[0]),
        float(np.nanmean(rank)) if np.isfinite(rank).any() else float("nan"),
        covered,
    )


def find_nearest(table: AssayTable, folds: CompoundFolds, *, workers: int = 1) -> Nearest:
    """Compares every held-out compound with all compounds that it is not held out with.

    Args:
      table: Compounds.
      folds: Their folds; training and validation part of each together.
      workers: Processes for the fingerprints.

    Returns:
      The nearest ones.
    """
    prints = structure_fingerprints(table.smiles, radius=RADIUS, size=SIZE, workers=workers)
    place_of = np.full(len(table.smiles), -1)
    place_of[prints.rows] = np.arange(len(prints.rows))
    similarity = np.full(len(table.smiles), np.nan, np.float32)
    row = np.full(len(table.smiles), -1)
    for number in folds.tested:
        split = folds.split_of(number)
        tests, seen = (
            side[place_of[side] >= 0] for side in (split.test, np.union1d(split.train, split.val))
        )
        found, place = nearest_tanimoto(
            prints.values[place_of[tests]], prints.values[place_of[seen]]
        )
        there = place >= 0
        similarity[tests[there]] = found[there]
        row[tests[there]] = seen[place[there]]
    return Nearest(similarity, row)


def strata_of(
    kind: str,
    labels: Float[np.ndarray, "n t"],
    values: Float[np.ndarray, "n t *c"],
    similarity: Float[np.ndarray, " n"],
) -> list[Stratum]:
    """Scores held-out compounds apart by their similarity to the training part.

    Args:
      kind: A key of `SCORES`.
      labels: Readouts of held-out compounds that are predicted; all else is NaN.
      values: Predictions.
      similarity: From `find_nearest`.

    Returns:
      One stratum a range; compounds of all folds stand together in it.
    """
    there = ~np.isnan(labels).all(1)
    stratum = np.where(there, similarity_strata(similarity), -1)
    k = len(SIMILARITY_EDGES) - 1
    found = score_readouts(kind, labels, values, folds=stratum, n_folds=k)
    strata = []
    for i in range(k):
        scores = {}
        for name, each in found.values.items():
            defined = each[:, i][~np.isnan(each[:, i])].astype(np.float64)
            scores[name] = float(defined.mean()) if defined.size else float("nan")
        strata.append(
            Stratum(
                SIMILARITY_EDGES[i],
                SIMILARITY_EDGES[i + 1],
                int((stratum == i).sum()),
                int(found.n_tested[:, i].sum()),
                None if found.n_hits is None else int(found.n_hits[:, i].sum()),
                int((~np.isnan(found.values[SCORES[kind][0]][:, i])).sum()),
                scores,
            )
        )
    return strata


def trust_of(
    kind: str,
    labels: Float[np.ndarray, "n t"],
    predictions: dict[str, Prediction],
    nearest: Nearest | None,
) -> Trust:
    """Examines all predictors.

    Args:
      kind: A key of `SCORES`.
      labels: Readouts of the held-out compounds; NaN elsewhere.
      predictions: By predictor.
      nearest: For scores by similarity.

    Returns:
      What there is to know.
    """
    reliability, spread, similarity = {}, {}, {}
    for name, one in predictions.items():
        own = np.where(one.there, labels, np.float32(np.nan)).astype(np.float32)
        if (
            kind == "binary"
            and ((one.values >= 0) | np.isnan(one.values)).all()
            and (np.nanmax(one.values) <= 1)
        ):
            reliability[name] = reliability_of(own, one.values)
        if kind == "multiclass":
            right = (one.values.argmax(2) == own).astype(np.float32)
            right[np.isnan(own)] = np.nan
            reliability[name] = reliability_of(right, one.values.max(2))
        if one.spread is not None and kind != "multiclass":
            found = spread_of(kind, own, one.values, one.spread)
            if found is not None:
                spread[name] = found
        if nearest is not None:
            similarity[name] = strata_of(kind, own, one.values, nearest.similarity)
    return Trust(reliability, spread, similarity)


def calibration_rows(trust: Trust) -> pa.Table:
    """The curves of probabilities and spreads, a line a bin, for `write_csv`."""
    columns: dict[str, list[Any]] = {n: [] for n in ("predictor", "bins", "x", "y", "readouts")}
    curves: list[tuple[str, str, Curve]] = []
    for name, one in trust.reliability.items():
        curves += [(name, "even", one.even), (name, "equal_count", one.equal_count)]
    curves += [(name, "spread", one.curve) for name, one in trust.spread.items()]
    for name, kind, curve in curves:
        for x, y, n in zip(curve.x, curve.y, curve.count, strict=True):
            for column, value in zip(columns.values(), (name, kind, x, y, n), strict=True):
                column.append(value if isinstance(value, (str, int)) else f"{value:.7g}")
    return pa.table(columns)


def nearest_rows(table: AssayTable, folds: CompoundFolds, nearest: Nearest) -> pa.Table:
    """The held-out compounds with their nearest training compounds, for `write_csv`.

    Args:
      table: Compounds.
      folds: Their folds.
      nearest: From `find_nearest`.

    Returns:
      A line a compound.
    """
    rows = np.flatnonzero(nearest.row >= 0).tolist()
    return pa.table(
        {
            "smiles": [table.smiles[i] for i in rows],
            "fold": [folds.names[folds.fold[i]] for i in rows],
            "nearest": [table.smiles[nearest.row[i]] for i in rows],
            "tanimoto": [f"{nearest.similarity[i]:.4f}" for i in rows],
        }
    )
