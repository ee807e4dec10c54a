"""The table of a study: mean, median and deviation over folds, assays and seeds, and counts."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from rich.table import Table

from cellml.commands.activity_evaluate import ASSAYS, FACTS
from cellml.commands.activity_scores import plain
from cellml.data.score_tables import read_score_tables
from cellml.metrics.assay_summary import THRESHOLDS, count_above, over_folds
from cellml.screening.fusion import best_of

MEANS = ("mean", "median", "sd_over_assays", "mean_of_folds", "sd_over_folds", "ap", "ef1")
HOW = {
    "mean, median, sd_over_assays, above": "of the assays' AUROC, each the median over the folds; "
    "assays without any count as not above",
    "mean_of_folds, sd_over_folds": "of the folds, each the mean AUROC over its assays; n - 1",
    "ap, ef1": "mean over the assays of the median over the folds: average precision, enrichment "
    "among the best 1 %",
    "sd_over_seeds": "of `mean`, n - 1; all other numbers are means over the seeds",
    "retrospective": "the best of some predictors for each assay, chosen by the test compounds: "
    "what a choice per assay could reach at most",
}


def summarise(
    scores: Path, kinds: Mapping[str, str], best: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, Any]]:
    """Sums up the scores of one table and seed.

    Args:
      scores: Folder that `cellml activity evaluate` wrote.
      kinds: What each predictor is, such as "late"; those without are "single".
      best: By name, the predictors of which the best is taken for each assay.

    Returns:
      By predictor: `kind`, `MEANS`, `above`, `assays`, `undefined`; null is undefined.
    """
    table = read_score_tables([scores / ASSAYS])
    record = json.loads((scores / FACTS).read_text(encoding="utf-8"))["predictors"]
    median = {name: one["auroc_median"] for name, one in table.scores.items()}
    found = {}
    for name, values in median.items():
        auroc = record[name]["auroc"]
        more = {
            "mean_of_folds": auroc["mean_of_folds"],
            "sd_over_folds": auroc["sd_over_folds"],
            "ap": record[name]["ap"]["median_over_folds"]["mean"],
            "ef1": record[name]["ef1"]["median_over_folds"]["mean"],
        }
        found[name] = {"kind": kinds.get(name, "single"), **_numbers(values), **more}
    for name, among in best.items():
        values = best_of(np.stack([median[each] for each in among])).value
        nothing = dict.fromkeys(MEANS[3:])
        found[name] = {"kind": "retrospective", **_numbers(values), **nothing}
    return found


def over_seeds(seeds: Sequence[Mapping[str, Mapping[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Joins the summaries of several seeds.

    Args:
      seeds: From `summarise`, all with the same predictors.

    Returns:
      By predictor, means over the seeds, and `sd_over_seeds` of the first of them.
    """
    joined = {}
    for name, first in seeds[0].items():
        every = [one[name] for one in seeds]
        means = {key: _mean([one[key] for one in every]) for key in MEANS}
        values = np.array([[np.nan if one["mean"] is None else one["mean"] for one in every]])
        joined[name] = {
            "kind": first["kind"],
            "assays": first["assays"],
            "undefined": _mean([one["undefined"] for one in every]),
            **means,
            "sd_over_seeds": plain(float(over_folds(values).sd[0])),
            "above": {limit: _mean([one["above"][limit] for one in every])
                      for limit in first["above"]},
        }  # fmt: skip
    return joined


def summary_rows(tables: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> pa.Table:
    """One line per table and predictor, for `write_csv`; nothing where undefined.

    Args:
      tables: By table, from `over_seeds`.

    Returns:
      The lines.
    """
    columns: dict[str, list[str]] = {}
    for table, predictors in tables.items():
        for name, one in predictors.items():
            above = {f"above_{limit}": value for limit, value in one["above"].items()}
            flat = {"table": table, "predictor": name, **one, **above}
            del flat["above"]
            for key, value in flat.items():
                text = value if isinstance(value, str) else _text(value)
                columns.setdefault(key, []).append(text)
    return pa.table(columns)


def shown(table: str, predictors: Mapping[str, Mapping[str, Any]]) -> Table:
    """The most important columns, for the terminal."""
    first = next(iter(predictors.values()))
    found = Table(title=f"{table}: AUROC of {first['assays']} assays (median over folds)", box=None)
    found.add_column("predictor", overflow="fold", min_width=9)
    spread = "folds \N{PLUS-MINUS SIGN} sd"
    limits = (f">{limit:g}".replace("0.", ".") for limit in THRESHOLDS)
    for name in ("mean", "median", "sd", spread, *limits):
        found.add_column(name, justify="right", no_wrap=True)
    for name, one in predictors.items():
        folds = (
            f"{_digits(one['mean_of_folds'])} \N{PLUS-MINUS SIGN} {_digits(one['sd_over_folds'])}"
        )
        numbers = [_digits(one[key]) for key in ("mean", "median", "sd_over_assays")]
        numbers.append("" if one["mean_of_folds"] is None else folds)
        found.add_row(name, *numbers, *(f"{value:g}" for value in one["above"].values()))
    return found


def _numbers(values: np.ndarray) -> dict[str, Any]:
    counts = count_above(values)
    return {
        "assays": counts.n_assays,
        "undefined": counts.n_undefined,
        "mean": plain(counts.mean),
        "median": plain(counts.median),
        "sd_over_assays": plain(float(over_folds(values[None, :]).sd[0])),
        "above": {f"{limit:g}": number for limit, number in counts.above.items()},
    }


def _mean(values: Sequence[int | float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if defined else None


def _text(value: int | float | None) -> str:
    return "" if value is None else f"{value:.7g}"


def _digits(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
