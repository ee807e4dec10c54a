"""`cellml activity evaluate`: scores predictions of assays, beside a linear baseline."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from rich.console import Console
from rich.table import Table

from cellml.commands.activity_baseline import LinearSettings, kept_linear
from cellml.commands.activity_inputs import CompoundFolds, CompoundSource, named_files, read_folds
from cellml.commands.activity_scores import (
    HOW,
    PredictorScores,
    assay_rows,
    fold_rows,
    paired_facts,
    predictor_facts,
)
from cellml.commands.long_work import say
from cellml.data.assay_tables import AssayTable, require_binary
from cellml.data.prediction_tables import align_predictions, read_prediction_rows
from cellml.data.score_tables import read_assay_types
from cellml.data.text_tables import write_csv
from cellml.data.writers import write_json
from cellml.errors import UsageError, UserError
from cellml.metrics.assays import score_assays

LINEAR = "linear"
FACTS, ASSAYS, FOLDS, KEPT = "evaluation.json", "assays.csv", "folds.csv", "linear.npz"


@dataclass(frozen=True)
class EvaluateOptions:
    """What the user asked for.

    Attributes:
      source: The truth.
      predictions: `NAME=FILE` or `FILE`; files of one name (folds) belong together.
      out: Folder to write into; nothing is written, if None.
      split_column: See `cellml.commands.activity_inputs.read_folds`; also tells apart compounds
        with equal SMILES, where the predictions have such a column.
      splits_file: Likewise.
      assay_types: Table of assays and their types.
      shared: Score only readouts that all predictors speak of.
      baseline: Whether to train a linear model on the same split, if there is one.
      settings: Of that.
      workers: Processes for its fingerprints.
    """

    source: CompoundSource
    predictions: Sequence[str]
    out: Path | None = None
    split_column: str | None = None
    splits_file: Path | None = None
    assay_types: Path | None = None
    shared: bool = False
    baseline: bool = True
    settings: LinearSettings = LinearSettings()  # noqa: RUF009 - frozen
    workers: int = 1


def run(options: EvaluateOptions, console: Console) -> dict[str, Any]:
    """Prints a table and writes evaluation.json, assays.csv and folds.csv.

    Args:
      options: See `EvaluateOptions`.
      console: Where to print.

    Returns:
      What is written to evaluation.json.

    Raises:
      UserError: A file or an option cannot be used.
    """
    besides = [options.split_column] if options.split_column else []
    table = options.source.read(besides=besides)
    require_binary(table)
    folds = read_folds(table, column=options.split_column, splits_file=options.splits_file)
    types = read_assay_types(options.assay_types, table.names) if options.assay_types else ()
    predicted = _predictions(options, table)
    names, fold = _held_out(table, folds)
    reference = ""
    if options.baseline and folds is not None:
        if LINEAR in predicted:
            raise UsageError(f"the name {LINEAR!r} is the baseline's: --no-baseline, or another")
        kept = (options.out or Path()) / KEPT
        values = _baseline(options, table, folds, predicted, kept, console)
        predicted, reference = {**predicted, LINEAR: values}, LINEAR
    found = _scores(table, predicted, fold, len(names), shared=options.shared)
    facts = {
        "truth": str(table.path),
        "assays": len(table.names),
        "folds": list(names),
        "shared_readouts_only": options.shared,
        "predictors": {one.name: predictor_facts(one, types) for one in found},
        "against": {reference: paired_facts(found, reference)} if reference else {},
        "baseline": str(options.settings) if reference else None,
        "how": HOW,
    }
    _show(facts, console)
    if types:
        console.print(_type_table(facts), soft_wrap=True)
    if options.out:
        write_csv(options.out / ASSAYS, assay_rows(found, table.names, types))
        write_csv(options.out / FOLDS, fold_rows(found, table.names, names))
        write_json(options.out / FACTS, facts)
        say(console, f"wrote {options.out / FACTS}, {ASSAYS} and {FOLDS}")
    return facts


def _predictions(options: EvaluateOptions, table: AssayTable) -> dict[str, np.ndarray]:
    found = {}
    for name, paths in named_files(options.predictions, "predictions").items():
        parts = [
            read_prediction_rows(path, table.names, smiles_column=options.source.smiles_name)
            for path in paths
        ]
        found[name] = align_predictions(parts, table, fold_column=options.split_column)
    return found


def _held_out(table: AssayTable, folds: CompoundFolds | None) -> tuple[tuple[str, ...], np.ndarray]:
    """Names of the folds to score, and which of them each compound is in, -1 for none."""
    if folds is None:
        return ("all",), np.zeros(len(table.smiles), np.int64)
    place = np.full(len(folds.names) + 1, -1)
    place[list(folds.tested)] = np.arange(len(folds.tested))
    return tuple(folds.names[i] for i in folds.tested), place[folds.fold]


def _baseline(
    options: EvaluateOptions,
    table: AssayTable,
    folds: CompoundFolds,
    predicted: dict[str, np.ndarray],
    kept: Path,
    console: Console,
) -> Float[np.ndarray, "n t"]:
    """Predictions of the linear model for the folds that others predict."""
    spoken = np.any([~np.isnan(values).all(1) for values in predicted.values()], axis=0)
    only = [f for f in folds.tested if spoken[folds.fold == f].any()]
    if options.out is None:
        from cellml.commands.activity_baseline import predict_linear

        return predict_linear(table, folds, options.settings, only=only, workers=options.workers)[0]
    return kept_linear(
        kept, table, folds, options.settings, only=only, workers=options.workers, console=console
    )


def _scores(
    table: AssayTable,
    predicted: dict[str, np.ndarray],
    fold: np.ndarray,
    n_folds: int,
    *,
    shared: bool,
) -> list[PredictorScores]:
    if not (fold >= 0).any():
        raise UserError(f"{table.path}: no compound is held out")
    tested = ~np.isnan(table.labels) & (fold >= 0)[:, None]
    everywhere = np.all([~np.isnan(values) for values in predicted.values()], axis=0)
    found = []
    for name, values in predicted.items():
        there = everywhere if shared else ~np.isnan(values)
        if not (tested & there).any():
            raise UserError(
                f"{name}: no prediction of any tested readout of the held-out compounds"
            )
        spoken = np.unique(fold[(tested & there).any(1)])
        missing = int((tested & ~there)[np.isin(fold, spoken)].sum())
        scores = score_assays(
            table.labels,
            np.where(there, values, np.float32(np.nan)),
            folds=fold,
            n_folds=n_folds,
            drop_unpredicted=True,
        )
        found.append(PredictorScores(name, scores, missing))
    return found


def _show(facts: dict[str, Any], console: Console) -> None:
    """The table of predictors, and what to know when reading it."""
    table = Table(title=f"{facts['assays']} assays, folds {', '.join(facts['folds'])}", box=None)
    table.add_column("predictor")
    for name in (
        "AUROC", "mean \N{PLUS-MINUS SIGN} sd of folds", ">.5", ">.7", ">.9", "AP", "PR trapezoid",
        "EF 1 %", "EF 5 %", "undefined",
    ):  # fmt: skip
        table.add_column(name, justify="right")
    against = next(iter(facts["against"].values()), {})
    if against:
        table.add_column(f"against {next(iter(facts['against']))}")
    for name, found in facts["predictors"].items():
        auroc = found["auroc"]
        median = auroc["median_over_folds"]
        cells = [
            _shown(median["mean"]),
            f"{_shown(auroc['mean_of_folds'])} \N{PLUS-MINUS SIGN} "
            f"{_shown(auroc['sd_over_folds'])}",
            *(str(number) for number in median["above"].values()),
            *(_shown(found[k]["median_over_folds"]["mean"]) for k in ("ap", "pr_auc_trapezoid")),
            *(_shown(found[k]["median_over_folds"]["mean"], 1) for k in ("ef1", "ef5")),
            str(median["undefined"]),
        ]
        if name in against:
            test = against[name]
            cells.append(
                f"{test['mean_difference']:+.3f} [{test['low']:+.3f}, {test['high']:+.3f}], "
                f"p {test['p_wilcoxon']:.2g}, better on {test['better']}, worse on {test['worse']}"
            )
        table.add_row(name, *cells)
    console.print(table, soft_wrap=True, markup=False)
    say(console, "AUROC, AP, EF: mean over the assays of the median over folds; >: assays above.")
    if facts["baseline"]:
        say(console, f"{LINEAR}: {facts['baseline']}, trained on all but the fold it predicts.")
    for name, found in facts["predictors"].items():
        if found["unpredicted_readouts"]:
            say(
                console,
                f"note: {name} has no prediction of {found['unpredicted_readouts']} tested "
                f"readouts of these folds (scored on {found['readouts']})",
            )


def _type_table(facts: dict[str, Any]) -> Table:
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


def _shown(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
