"""What `cellml activity evaluate` compares: predictions from files, and a linear baseline."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from cellml.commands.activity_baseline import LinearSettings, kept_linear, predict_linear
from cellml.commands.activity_inputs import CompoundFolds, column_names, named_files
from cellml.commands.activity_trust import Prediction
from cellml.data.assay_tables import AssayTable, require_binary, require_classes
from cellml.data.fingerprints import structure_fingerprints
from cellml.data.prediction_tables import PredictionRows, align_predictions, read_prediction_rows
from cellml.errors import UsageError, UserError
from cellml.screening.linear_values import RIDGE, fit_multinomial, fit_ridge

SPREAD = "_sd"
"""Ending of the columns of standard deviations, as `cellml activity predict --spread` writes."""


def read_predictions(
    texts: Sequence[str],
    table: AssayTable,
    *,
    kind: str,
    smiles_column: str,
    fold_column: str | None = None,
) -> dict[str, Prediction]:
    """Reads all predictors.

    Args:
      texts: `NAME=FILE` or `FILE`; files of one name belong together.
      table: Compounds.
      kind: Of the readouts; of classes there is a column each, `ASSAY_0`, `ASSAY_1` and so on.
      smiles_column: Of the files, where they have it.
      fold_column: See `cellml.data.prediction_tables.align_predictions`.

    Returns:
      By name. Spreads are read where all assays have a column `ASSAY_sd`.

    Raises:
      UserError: A file cannot be used.
    """
    found = {}
    for name, paths in named_files(texts, "predictions").items():

        def read(columns: Sequence[str], paths: list[Path] = paths) -> np.ndarray:
            parts: list[PredictionRows] = [
                read_prediction_rows(path, columns, smiles_column=smiles_column) for path in paths
            ]
            return align_predictions(parts, table, fold_column=fold_column)

        there = set.intersection(*(set(column_names(path)) for path in paths))
        if kind == "multiclass":
            found[name] = Prediction(_classes(read, there, table, paths[0]))
            continue
        spreads = [f"{assay}{SPREAD}" for assay in table.names]
        has_spread = set(spreads) <= there and not set(spreads) & set(table.names)
        found[name] = Prediction(read(table.names), read(spreads) if has_spread else None)
    return found


def check_labels(kind: str, table: AssayTable, n_classes: int) -> None:
    """Checks that the readouts are of a kind.

    Args:
      kind: "binary", "regression" or "multiclass".
      table: Readouts.
      n_classes: Of the last.

    Raises:
      UserError: A readout is not; the message names line and column.
    """
    if kind == "binary":
        require_binary(table)
    if kind == "multiclass":
        require_classes(table, n_classes)


def describe_baseline(kind: str, settings: LinearSettings) -> str:
    """The baseline of a kind of readouts, for people."""
    if kind == "binary":
        return str(settings)
    bits = f"Morgan bits (radius {settings.radius}, {settings.size} bits"
    bits = f"chiral {bits}" if settings.chirality else bits
    if kind == "regression":
        return f"ridge regression an assay on {bits}, penalty {RIDGE:g})"
    return f"multinomial logistic regression an assay on {bits}, C {settings.regularisation:g})"


def predict_baseline(
    kind: str,
    table: AssayTable,
    folds: CompoundFolds,
    settings: LinearSettings,
    *,
    only: Sequence[int],
    n_classes: int,
    kept: Path | None,
    workers: int,
    console: Console,
) -> Prediction:
    """Predictions of the linear model for some folds.

    Args:
      kind: Of the readouts.
      table: Compounds.
      folds: Their folds.
      settings: Of the model.
      only: Folds to predict.
      n_classes: Of multi-class readouts.
      kept: File for the predictions of hits, to be used again.
      workers: Processes for fingerprints.
      console: Where to draw a bar.

    Returns:
      The predictions, NaN for compounds that are not held out.

    Raises:
      UsageError: A setting is out of range.
    """
    if kind == "binary":
        if kept is None:
            return Prediction(predict_linear(table, folds, settings, only=only, workers=workers)[0])
        return Prediction(
            kept_linear(kept, table, folds, settings, only=only, workers=workers, console=console)
        )
    try:
        prints = structure_fingerprints(
            table.smiles,
            radius=settings.radius,
            size=settings.size,
            chirality=settings.chirality,
            workers=workers,
        )
        bits = np.zeros((len(table.smiles), settings.size), np.uint8)
        bits[prints.rows] = prints.values
        readable = np.isin(np.arange(len(bits)), prints.rows)
        shape = table.labels.shape if kind == "regression" else (*table.labels.shape, n_classes)
        joined = np.full(shape, np.nan, np.float32)
        for fold in only:
            test = (folds.fold == fold) & readable
            train = folds.trains(fold) & readable
            if kind == "regression":
                joined[test] = fit_ridge(bits, table.labels, train=train, test=test)[test]
            else:
                joined[test] = fit_multinomial(
                    bits, table.labels, n_classes=n_classes, train=train, test=test,
                    regularisation=settings.regularisation,
                )[test]  # fmt: skip
    except ValueError as error:
        raise UsageError(f"linear baseline: {error}") from error
    return Prediction(joined)


def _classes(read, there: set[str], table: AssayTable, path: Path) -> np.ndarray:
    """Probabilities [n t c]; classes that only other assays have get 0."""
    counts = []
    for assay in table.names:
        n = 0
        while f"{assay}_{n}" in there:
            n += 1
        if n < 2:
            raise UserError(
                f"{path}: no columns {assay}_0, {assay}_1 with the probabilities of the classes"
            )
        counts.append(n)
    values = read([f"{assay}_{i}" for assay, n in zip(table.names, counts, strict=True)
                   for i in range(n)])  # fmt: skip
    joined = np.zeros((len(values), len(counts), max(counts)), np.float32)
    first = 0
    for j, n in enumerate(counts):
        joined[:, j, :n] = values[:, first : first + n]
        first += n
    return joined
