"""Scores of predictors for the terminal."""

from typing import Any

from rich.console import Console
from rich.table import Table

from cellml.commands.activity_scores import SCORES
from cellml.commands.long_work import say
from cellml.report.activity_trust import NAMES
from cellml.report.activity_trust_results import Trust


def show_scores(facts: dict[str, Any], trust: Trust, console: Console) -> None:
    """Prints the table of predictors, and what to know when reading it.

    Args:
      facts: As written to evaluation.json.
      trust: Calibration, spread and similarity of the predictors.
      console: Where to.
    """
    table = Table(title=f"{facts['assays']} assays, folds {', '.join(facts['folds'])}", box=None)
    table.add_column("predictor", overflow="fold", min_width=9)
    binary = facts["kind"] == "binary"
    headings = [*_headings(facts["kind"]), *(["ECE"] if trust.reliability else [])]
    for name in headings:
        table.add_column(name, justify="right", no_wrap=True)
    for name, found in facts["predictors"].items():
        cells = _binary_cells(found) if binary else _cells(facts["kind"], found)
        if trust.reliability:
            one = trust.reliability.get(name)
            cells.append("-" if one is None else _shown(one.ece))
        table.add_row(name, *cells)
    console.print(table, markup=False)
    if len(facts["folds"]) > 1:
        console.print(_fold_table(facts), markup=False)
    for reference, others in facts["against"].items():
        for name, test in others.items():
            say(
                console,
                f"{name} against {reference}: {test['mean_difference']:+.3f} "
                f"[{test['low']:+.3f}, {test['high']:+.3f}], p {test['p_wilcoxon']:.2g}, "
                f"better on {test['better']}, worse on {test['worse']}",
            )
    what = "AUROC, AP and EF (enrichment factor)" if binary else "Scores"
    say(console, f"{what}: mean over the assays of the median over folds; \N{PLUS-MINUS SIGN}: of")
    more = "; >: assays above; ECE: expected calibration error" if binary else ""
    say(console, f"the means of the folds; undef.: assays without a score{more}.")
    if facts["baseline"]:
        name = next(iter(facts["against"]))
        say(console, f"{name}: {facts['baseline']}, trained on the training part of the split.")
    for name, found in facts["predictors"].items():
        if found["unpredicted_readouts"]:
            say(
                console,
                f"note: {name} has no prediction of {found['unpredicted_readouts']} tested "
                f"readouts of these folds (scored on {found['readouts']})",
            )
    if trust.similarity:
        console.print(_similarity_table(trust), markup=False)


def type_table(facts: dict[str, Any]) -> Table:
    """Counts of assays by their type, for the terminal."""
    table = Table(title="assays above .7 (and .9) of their number, by type", box=None)
    table.add_column("type")
    predictors = facts["predictors"]
    for name in predictors:
        table.add_column(name, justify="right")
    kinds = next(iter(predictors.values()))["auroc"]["by_type"]
    for kind, counts in kinds.items():
        cells = []
        for found in predictors.values():
            above = found["auroc"]["by_type"][kind]["above"]
            cells.append(f"{above['0.7']} ({above['0.9']})")
        table.add_row(f"{kind} ({counts['assays']})", *cells)
    return table


FOLDS_SHOWN = 10


def _fold_table(facts: dict[str, Any]) -> Table:
    """Mean over the assays of the first score in each fold, then mean and deviation of these."""
    score = SCORES[facts["kind"]][0]
    folds = facts["folds"][:FOLDS_SHOWN]
    table = Table(title=f"{NAMES.get(score, score)} by held-out fold", box=None)
    table.add_column("predictor", overflow="fold", min_width=9)
    for name in (*folds, "mean", "sd"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, found in facts["predictors"].items():
        one = found[score]
        values = [*one["by_fold"][: len(folds)], one["mean_of_folds"], one["sd_over_folds"]]
        table.add_row(name, *map(_shown, values))
    return table


def _headings(kind: str) -> list[str]:
    spread = "folds \N{PLUS-MINUS SIGN} sd"
    if kind == "binary":
        return ["AUROC", spread, ">.5", ">.7", ">.9", "AP", "EF 1 %", "undef."]
    first, *others = (NAMES[name] for name in SCORES[kind])
    return [first, spread, *others, "undef."]


def _binary_cells(found: dict[str, Any]) -> list[str]:
    median = found["auroc"]["median_over_folds"]
    return [
        *_first_cells(found["auroc"]),
        *(str(number) for number in median["above"].values()),
        _shown(found["ap"]["median_over_folds"]["mean"]),
        _shown(found["ef1"]["median_over_folds"]["mean"], 1),
        str(median["undefined"]),
    ]


def _cells(kind: str, found: dict[str, Any]) -> list[str]:
    first, *others = SCORES[kind]
    return [
        *_first_cells(found[first]),
        *(_shown(found[name]["median_over_folds"]["mean"]) for name in others),
        str(found[first]["median_over_folds"]["undefined"]),
    ]


def _first_cells(score: dict[str, Any]) -> list[str]:
    spread = (
        f"{_shown(score['mean_of_folds'])} \N{PLUS-MINUS SIGN} {_shown(score['sd_over_folds'])}"
    )
    return [_shown(score["median_over_folds"]["mean"]), spread]


def _similarity_table(trust: Trust) -> Table:
    strata = next(iter(trust.similarity.values()))
    score = next(iter(strata[0].scores))
    table = Table(
        title=f"{NAMES[score]} (of assays) by similarity to training",
        box=None,
    )
    for name in ("similarity", "compounds", *trust.similarity):
        table.add_column(name, justify="left" if name == "similarity" else "right")
    for i, one in enumerate(strata):
        cells = [
            f"{_shown(found[i].scores[score])} ({found[i].assays})"
            for found in trust.similarity.values()
        ]
        table.add_row(f"{one.low:g} to {one.high:g}", f"{one.compounds:,}", *cells)
    return table


def _shown(value: float | None, digits: int = 3) -> str:
    return "-" if value is None or value != value else f"{value:.{digits}f}"
