"""Tables of the report on assays, in the form of the dissertation's tables 1 to 4."""

from collections.abc import Sequence

import numpy as np

from cellml.metrics.assay_summary import THRESHOLDS, assay_overlap, count_above, count_by_type
from cellml.metrics.predictor_tests import compare_predictors
from cellml.report.activity_results import AssayStudy
from cellml.report.html import Table

DASH = "-"


def number(value: float, digits: int = 3) -> str:
    """A number in a table; a dash where it is undefined."""
    return DASH if not np.isfinite(value) else f"{value:.{digits}f}"


def share(count: int, total: int) -> str:
    """A count with its share of the assays."""
    return f"{count} ({100 * count / max(total, 1):.0f} %)"


def predictors(study: AssayStudy) -> Table:
    """Table 1: every predictor by itself."""
    rows = []
    for name, values in study.auroc.items():
        counts = count_above(values)
        above = [share(counts.above[limit], counts.n_assays) for limit in THRESHOLDS]
        means = [number(counts.mean), number(counts.median)]
        rows.append([name, *above, *means, str(counts.n_undefined)])
    return Table(
        ["predictor", *(f"AUROC > {limit:g}" for limit in THRESHOLDS), "mean", "median",
         "undefined"],
        rows,
        f"Table 1. Assays of {len(study.assays)} whose {study.statistic} AUROC over the folds lies "
        "above a threshold; mean and median over the assays that have one.",
        _largest(rows, (1, 2, 3, 4, 5)),
    )  # fmt: skip


def modalities(study: AssayStudy, threshold: float) -> Table:
    """Table 2 (threshold .9) or 3 (.7): single modalities, their fusion, and the best of both."""
    total = len(study.assays)
    columns = ["assays above", *study.singles, *(study.label(f) for f in study.fusions)]
    blank = [DASH] * len(study.singles)
    single = [str(count_above(study.auroc[n], [threshold]).above[threshold]) for n in study.singles]
    late, early, union, both, every = [], [], [], [], []
    for fusion in study.fusions:
        for names, into in ((fusion.late, late), (fusion.early, early)):
            found = None if names is None else count_above(study.auroc[names], [threshold])
            into.append(DASH if found is None else str(found.above[threshold]))
        passed = assay_overlap(study.passed(fusion.parts, threshold))
        union.append(str(passed.union))
        every.append(str(passed.intersection))
        joined = [*fusion.parts, *([fusion.late] if fusion.late else [])]
        best = count_above(study.best(joined), [threshold]).above[threshold]
        both.append(share(best, total) if fusion.late else DASH)
    rows = [["one modality", *single, *([DASH] * len(study.fusions))]]
    for name, cells in (
        ("late fusion", late),
        ("early fusion", early),
        ("in every single one", every),
        ("union of the single ones", union),
        ("single ones and late fusion", both),
    ):
        if any(cell != DASH for cell in cells):
            rows.append([name, *blank, *cells])
    place = {0.9: "Table 2. ", 0.7: "Table 3. "}.get(threshold, "")
    return Table(
        columns,
        rows,
        f"{place}Assays of {total} with a {study.statistic} AUROC above {threshold:g}. The last "
        "rows choose the best predictor of each assay after the fact: they say how far the "
        "modalities complete each other, not what a new compound can expect.",
    )


def types(study: AssayStudy, names: Sequence[str], threshold: float) -> Table:
    """Table 4: by type of assay.

    Args:
      study: Scores and types of the assays.
      names: Predictors, a column each.
      threshold: Assays above it are counted.

    Returns:
      A row a type.
    """
    found = {name: count_by_type(study.auroc[name], study.types) for name in names}
    kinds = next(iter(found.values()))
    rows = []
    for kind, counts in kinds.items():
        cells = [str(found[name][kind].above[threshold]) for name in names]
        medians = [number(found[name][kind].median, 2) for name in names]
        both = [f"{n} ({m})" for n, m in zip(cells, medians, strict=True)]
        rows.append([kind, str(counts.n_assays), *both])
    return Table(
        ["type", "assays", *names],
        rows,
        f"Table 4. Assays above {threshold:g} by type, and in brackets the median AUROC of the "
        "type.",
    )


def other_scores(study: AssayStudy) -> Table | None:
    """Enrichment and what else there is, as means over the assays; None if there is nothing."""
    scores = list(study.others)
    names = [name for name in study.auroc if any(name in by for by in study.others.values())]
    if not scores:
        return None
    rows = []
    for name in names:
        cells = []
        for score in scores:
            values = study.others[score].get(name)
            mean = np.nan if values is None or np.isnan(values).all() else np.nanmean(values)
            cells.append(number(float(mean), 1 if score.startswith("ef") else 3))
        rows.append([name, *cells])
    caption = f"Means over the assays of the {study.statistic} over the folds."
    if any(score.startswith("ef") for score in scores):
        caption += " EF: hits among the best predicted share of the readouts over those by chance."
    if "pr_auc_trapezoid" in scores:
        caption += (
            " AP and the trapezoid area under the precision-recall curve differ; the latter "
            "flatters where hits are rare."
        )
    return Table(
        ["predictor", *(_score_name(score) for score in scores)],
        rows,
        caption,
        _largest(rows, range(1, len(scores) + 1)),
    )


def paired(study: AssayStudy, pairs: Sequence[tuple[str, str]]) -> Table:
    """Predictors against each other on the same assays."""
    rows = []
    for first, second in pairs:
        both = ~np.isnan(study.auroc[first]) & ~np.isnan(study.auroc[second])
        if not both.any():
            continue
        test = compare_predictors(study.auroc[first], study.auroc[second])
        rows.append(
            [
                f"{second} against {first}",
                str(test.n_assays),
                f"{test.difference.mean:+.3f}",
                f"{test.difference.low:+.3f} to {test.difference.high:+.3f}",
                str(test.better),
                str(test.worse),
                f"{test.p_value:.2g}",
            ]
        )
    return Table(
        ["pair", "assays", "mean difference", "95 % interval", "better", "worse", "p"],
        rows,
        "Difference of the AUROC of each assay: bootstrap over assays, Wilcoxon's signed-rank test "
        "(two-sided, not corrected for the number of pairs). Assays share compounds, so that p is "
        "too small rather than too large.",
    )


def _score_name(score: str) -> str:
    fixed = {"ap": "AP", "pr_auc_trapezoid": "PR trapezoid"}
    return fixed.get(score, f"EF {score[2:]} %" if score.startswith("ef") else score)


def _largest(rows: Sequence[Sequence[str]], columns: Sequence[int]) -> frozenset[tuple[int, int]]:
    """Cells with the largest number of their column, as shown; none where all are the same."""
    strong = set()
    for column in columns:
        cells = [row[column].split(" ")[0] for row in rows]
        values = [-np.inf if cell == DASH else float(cell) for cell in cells]
        top = max(values, default=-np.inf)
        if top == min(values, default=-np.inf):
            continue
        strong |= {(y, column) for y, v in enumerate(values) if v == top and np.isfinite(top)}
    return frozenset(strong) if len(rows) > 1 else frozenset()
