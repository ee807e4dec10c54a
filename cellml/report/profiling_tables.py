"""Tables of the report on profiles."""

from collections.abc import Sequence

import numpy as np

from cellml.metrics.neighbours import NeighbourAccuracy
from cellml.metrics.protocols import RetrievalScores
from cellml.metrics.replicates import Reproducibility
from cellml.report.html import Table
from cellml.report.profiling_results import ExperimentResult, shown_lambda

SCORES = (
    "mAP", "interpolated", "folds, mean", "folds, median", "log odds", "hits in top 1 %", "queries",
)  # fmt: skip
STRONGEST = 10


def number(value: float | None, digits: int = 3) -> str:
    """A number in a table; a dash where it is undefined."""
    return "-" if value is None or not np.isfinite(value) else f"{value:.{digits}f}"


def summary(results: Sequence[ExperimentResult]) -> Table:
    """The mAP of every experiment: raw, at the default lambda and at the best, by protocol."""
    protocols = _protocols(results)
    columns = ["features", *(f"{p}: {v}" for p in protocols for v in ("raw", "default", "best"))]
    rows = []
    for result in results:
        row = [result.name]
        for protocol in protocols:
            settings = (result.raw, result.sphered, result.best if result.sphered else None)
            for setting in settings:
                found = None if setting is None else setting.scores.get(protocol)
                row.append("-" if found is None else number(found.map))
            if result.sphered is not None:
                row[-1] += f" ({shown_lambda(result.best.regularisation)})"
        rows.append([*row, number(result.chance_map)])
    strong = frozenset(cell for column in range(1, len(columns)) for cell in _largest(rows, column))
    return Table(
        [*columns, "chance"],
        rows,
        "mAP raw, sphered with the default lambda, and with the best one (in brackets; chosen by "
        "mAP of strict on the same labels, hence optimistic). Chance: a random ranking under "
        "strict. The highest of each column is marked.",
        strong if len(rows) > 1 else frozenset(),
    )


def all_scores(results: Sequence[ExperimentResult]) -> Table:
    """Every experiment, variant and protocol with all scores."""
    rows = [
        [result.name, variant, shown_lambda(setting.regularisation), protocol, *_cells(scores)]
        for result in results
        for variant, setting in result.variants().items()
        for protocol, scores in setting.scores.items()
    ]
    return Table(
        ["features", "variant", "lambda", "protocol", *SCORES],
        rows,
        "Folds: odds ratio of right answers in the top 1 %, over queries with at least one right "
        "answer. Queries: those of mAP, with at least two.",
    )


def sweep_scores(result: ExperimentResult) -> Table:
    """Every lambda that was tried for one experiment, under all protocols."""
    rows, strong = [], set()
    for setting in result.settings:
        for protocol, scores in setting.scores.items():
            if setting.regularisation == result.best.regularisation and protocol == "strict":
                strong.add((len(rows), 2))
            name = shown_lambda(setting.regularisation)
            if setting.regularisation == result.default:
                name += " (default)"
            rows.append([name, protocol, *_cells(scores)])
    return Table(["lambda", "protocol", *SCORES], rows, "", frozenset(strong))


def replicates(results: Sequence[ExperimentResult]) -> Table:
    """Wells that find wells of their treatment, and of their batch."""
    rows = [
        [
            result.name,
            shown_lambda(found.regularisation),
            number(found.scores.map),
            f"{found.scores.hits_top1pct} of {found.scores.n_treatments}",
            number(found.same_batch),
            number(result.chance_batch),
            str(result.n_batches),
            _reproducible(found.reproducible),
            _right(found.nsc),
            _right(found.nscb),
        ]
        for result in results
        for found in result.replicates
    ]
    return Table(
        [
            "features", "lambda", "mAP of replicates", "hits in top 1 %", "neighbour of same batch",
            "by chance", "batches", "reproducible", "other compound", "and batch",
        ],
        rows,
        "Hits: treatments whose wells on average have a replicate among the most similar 1 %. "
        "Neighbour of same batch: share of all wells, controls included, whose most similar well "
        "is of their own batch; near chance means that batches are mixed. Reproducible: treatments "
        "whose wells correlate more (median) than 95 % of random sets of wells of different "
        "treatments. Other compound, and batch: treatments whose most similar one of another "
        "compound (and batch) shares a mechanism.",
    )  # fmt: skip


def strengths(results: Sequence[ExperimentResult]) -> list[Table]:
    """Agreement with the truth, where there is one, and the strongest treatments."""
    found: list[Table] = []
    known = [(r, s) for r in results for s in r.strengths if s.truth is not None]
    if known:
        rows = [
            [
                result.name,
                ranking.space,
                "-" if ranking.in_order is None else "{} of {}".format(*ranking.in_order),
                number(ranking.rank_correlation),
                str(int((~np.isnan(_truth(ranking.truth))).sum())),
            ]
            for result, ranking in known
        ]
        found.append(
            Table(
                [
                    "features",
                    "profiles",
                    "pairs in order within mechanisms",
                    "Spearman's correlation with the truth",
                    "treatments",
                ],
                rows,
                "Mean z-score against true strength. True strengths are relative to the strongest "
                "treatment of the same mechanism: pairs of one mechanism are to be in order, while "
                "mechanisms of different effect keep the correlation below 1.",
            )
        )
    ranked = [(r.name, r.strengths[0]) for r in results if r.strengths]
    rows = []
    for place in range(STRONGEST):
        row = [str(place + 1)]
        for _, ranking in ranked:
            order = np.argsort(-np.nan_to_num(ranking.mean, nan=-np.inf), kind="stable")
            there = place < len(order) and not np.isnan(ranking.mean[order[place]])
            i = order[place] if there else -1
            row.append(f"{ranking.treatments[i]} ({ranking.mean[i]:.1f})" if there else "-")
        rows.append(row)
    columns = ["place", *(f"strongest by {name}" for name, _ in ranked)]
    found.append(
        Table(
            columns,
            rows,
            "Mean z-score of the wells in brackets, from the profiles that the figures below show.",
        )
    )
    return found


def training(results: Sequence[ExperimentResult]) -> list[Table]:
    """F1 at the best and at the last evaluation of every experiment that was trained."""
    rows = []
    for result in results:
        curve = result.training
        if curve is None:
            continue
        best = int(np.nanargmax(curve.validation))
        rows.append(
            [
                result.name,
                number(curve.validation[best]),
                f"{curve.unit} {curve.place[best]:g}",
                number(curve.validation[-1]),
                number(curve.train[-1]),
                f"{curve.unit} {curve.place[-1]:g}",
            ]
        )
    columns = [
        "features",
        "best validation F1",
        "at",
        "last validation F1",
        "last training F1",
        "at",
    ]
    return [Table(columns, rows)]


def _cells(scores: RetrievalScores) -> list[str]:
    return [
        number(scores.map),
        number(scores.map_interpolated),
        number(scores.folds_of_enrichment, 1),
        number(scores.folds_median, 1),
        number(scores.log_odds, 2),
        f"{scores.hits_top1pct} of {scores.n_treatments}",
        str(scores.n_queries["map"]),
    ]


def _right(found: NeighbourAccuracy | None) -> str:
    return "-" if found is None else f"{found.n_right:.6g} of {found.n_queries}"


def _reproducible(found: Reproducibility | None) -> str:
    return "-" if found is None else f"{int(found.reproducible.sum())} of {found.group.size}"


def _protocols(results: Sequence[ExperimentResult]) -> list[str]:
    return list(dict.fromkeys(protocol for result in results for protocol in result.raw.scores))


def _largest(rows: Sequence[Sequence[str]], column: int) -> list[tuple[int, int]]:
    """Cells of a column with its largest number, as shown."""
    values = [row[column].split(" ")[0] for row in rows]
    numbers = [-np.inf if value == "-" else float(value) for value in values]
    top = max(numbers)
    return [(y, column) for y, value in enumerate(numbers) if value == top and np.isfinite(top)]


def _truth(values: np.ndarray | None) -> np.ndarray:
    return np.zeros(0) if values is None else values
