"""`cellml activity evaluate`: scores predictions of assays, beside a linear baseline."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from cellml.commands.activity_baseline import LinearSettings
from cellml.commands.activity_evaluate_inputs import (
    check_labels,
    describe_baseline,
    predict_baseline,
    read_predictions,
)
from cellml.commands.activity_inputs import CompoundFolds, CompoundSource, read_folds
from cellml.commands.activity_scores import (
    HOW,
    SCORES,
    PredictorScores,
    assay_rows,
    fold_rows,
    paired_facts,
    predictor_facts,
    score_readouts,
)
from cellml.commands.activity_scores_shown import show_scores, type_table
from cellml.commands.activity_trust import (
    Prediction,
    calibration_rows,
    find_nearest,
    nearest_rows,
    trust_of,
)
from cellml.commands.long_work import say
from cellml.data.assay_tables import AssayTable
from cellml.data.score_tables import read_assay_types
from cellml.data.text_tables import write_csv
from cellml.data.writers import write_json
from cellml.errors import UsageError, UserError
from cellml.report.activity_trust import draw_reliability, draw_similarity, draw_spread
from cellml.report.activity_trust_results import Trust

LINEAR = "linear"
FACTS, ASSAYS, FOLDS, KEPT = "evaluation.json", "assays.csv", "folds.csv", "linear.npz"
CALIBRATION, NEAREST = "calibration.csv", "nearest.csv"
TRUST = "trust"
"""Entry of evaluation.json for calibration, spread and similarity."""


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
      kind: Of the readouts: "binary", "regression" or "multiclass" (numbers from 0; predictions
        then have a column a class, `ASSAY_0` and so on).
      similarity: Whether to score compounds apart by similarity to the training part, if there is
        a split.
      figures: Whether to draw into `out`.
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
    kind: str = "binary"
    similarity: bool = True
    figures: bool = True


def run(options: EvaluateOptions, console: Console) -> dict[str, Any]:
    """Prints a table and writes evaluation.json, assays.csv, folds.csv, curves and figures.

    Args:
      options: See `EvaluateOptions`.
      console: Where to print.

    Returns:
      What is written to evaluation.json.

    Raises:
      UserError: A file or an option cannot be used.
    """
    if options.kind not in SCORES:
        raise UsageError(f"--kind {options.kind}: one of {', '.join(SCORES)} expected")
    besides = [options.split_column] if options.split_column else []
    table = options.source.read(besides=besides)
    folds = read_folds(table, column=options.split_column, splits_file=options.splits_file)
    types = read_assay_types(options.assay_types, table.names) if options.assay_types else ()
    if options.kind == "binary":
        check_labels(options.kind, table, 2)  # rather than what it does to predictions
    predicted = read_predictions(
        options.predictions,
        table,
        kind=options.kind,
        smiles_column=options.source.smiles_name,
        fold_column=options.split_column,
    )
    names, fold = _held_out(table, folds)
    n_classes = max(one.values.shape[-1] for one in predicted.values())
    check_labels(options.kind, table, n_classes)
    reference = ""
    if options.baseline and folds is not None:
        predicted[LINEAR] = _baseline(options, table, folds, predicted, n_classes, console)
        reference = LINEAR
    found = _scores(options, table, predicted, fold, len(names))
    nearest = None
    if options.similarity and folds is not None:
        nearest = find_nearest(table, folds, workers=options.workers)
    held_out = np.where((fold >= 0)[:, None], table.labels, np.float32(np.nan))
    trust = trust_of(options.kind, held_out, predicted, nearest)
    facts = {
        "truth": str(table.path),
        "kind": options.kind,
        "assays": len(table.names),
        "folds": list(names),
        "shared_readouts_only": options.shared,
        "predictors": {one.name: predictor_facts(one, types) for one in found},
        "against": {reference: paired_facts(found, reference)} if reference else {},
        "baseline": describe_baseline(options.kind, options.settings) if reference else None,
        TRUST: trust.to_json(),
        "how": HOW,
    }
    show_scores(facts, trust, console)
    if types and options.kind == "binary":
        console.print(type_table(facts), soft_wrap=True, markup=False)
    if options.out:
        write_csv(options.out / ASSAYS, assay_rows(found, table.names, types))
        write_csv(options.out / FOLDS, fold_rows(found, table.names, names))
        if trust.reliability or trust.spread:
            write_csv(options.out / CALIBRATION, calibration_rows(trust))
        if nearest is not None and folds is not None:
            write_csv(options.out / NEAREST, nearest_rows(table, folds, nearest))
        if options.figures:
            _draw(options.out, trust)
        write_json(options.out / FACTS, facts)
        say(console, f"wrote {options.out / FACTS}, {ASSAYS} and {FOLDS}")
    return facts


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
    predicted: dict[str, Prediction],
    n_classes: int,
    console: Console,
) -> Prediction:
    """Predictions of the linear model for the folds that others predict."""
    if LINEAR in predicted:
        raise UsageError(f"the name {LINEAR!r} is the baseline's: --no-baseline, or another")
    spoken = np.any([one.there.any(1) for one in predicted.values()], axis=0)
    return predict_baseline(
        options.kind,
        table,
        folds,
        options.settings,
        only=[f for f in folds.tested if spoken[folds.fold == f].any()],
        n_classes=n_classes,
        kept=options.out / KEPT if options.out else None,
        workers=options.workers,
        console=console,
    )


def _scores(
    options: EvaluateOptions,
    table: AssayTable,
    predicted: dict[str, Prediction],
    fold: np.ndarray,
    n_folds: int,
) -> list[PredictorScores]:
    if not (fold >= 0).any():
        raise UserError(f"{table.path}: no compound is held out")
    tested = ~np.isnan(table.labels) & (fold >= 0)[:, None]
    everywhere = np.all([one.there for one in predicted.values()], axis=0)
    found = []
    for name, one in predicted.items():
        there = everywhere if options.shared else one.there
        if not (tested & there).any():
            raise UserError(
                f"{name}: no prediction of any tested readout of the held-out compounds"
            )
        spoken = np.unique(fold[(tested & there).any(1)])
        missing = int((tested & ~there)[np.isin(fold, spoken)].sum())
        mask = there if one.values.ndim == 2 else there[..., None]
        scores = score_readouts(
            options.kind,
            table.labels,
            np.where(mask, one.values, np.float32(np.nan)),
            folds=fold,
            n_folds=n_folds,
        )
        found.append(PredictorScores(name, options.kind, scores, missing))
    return found


def _draw(folder: Path, trust: Trust) -> None:
    if trust.reliability:
        draw_reliability(trust.reliability, folder / "reliability")
    if trust.spread:
        draw_spread(trust.spread, folder / "spread")
    if trust.similarity:
        draw_similarity(trust.similarity, folder / "similarity")
