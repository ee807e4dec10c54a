"""Choosing a predictor for each held-out fold by the validation compounds of its runs."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from cellml.commands.activity_fuse import RUN
from cellml.commands.activity_inputs import FOLD
from cellml.commands.activity_study_steps import assays_of
from cellml.data.assay_tables import AssayTable
from cellml.data.prediction_tables import (
    ROW,
    PredictionRows,
    align_predictions,
    read_prediction_rows,
    write_predictions,
)
from cellml.errors import UserError
from cellml.metrics.assays import score_assays


def choose_by_validation(
    predictions: Mapping[str, Path], validation: Mapping[str, Path], table: AssayTable, out: Path
) -> dict[str, dict[str, float | str | None]]:
    """Takes each held-out fold from the predictor that was best on validation compounds.

    The best has the largest mean AUROC over the assays in which it is defined, the first of equals,
    on the readouts that all of them predict. No readout of the held-out fold has a part in it.

    Args:
      predictions: Files of predictors and fusions, with a column `fold`.
      validation: Their predictions of validation compounds, with a column `run`.
      table: Truth.
      out: File to write.

    Returns:
      By fold: `chosen`, and the validation AUROC of every candidate, None where undefined.

    Raises:
      UserError: A file cannot be read, or lacks a fold that the others have.
    """
    assays = assays_of(next(iter(predictions.values())))
    order = [table.names.index(name) for name in assays]
    labels = table.labels[:, order]
    rows = {name: read_prediction_rows(path, assays, smiles_column="smiles")
            for name, path in predictions.items()}  # fmt: skip
    runs = {name: read_prediction_rows(path, assays, smiles_column="smiles")
            for name, path in validation.items()}  # fmt: skip
    folds = {fold: None for part in rows.values() for fold in part.others[FOLD].to_pylist()}
    choices: dict[str, dict[str, float | str | None]] = {}
    smiles: list[str] = []
    chosen: list[np.ndarray] = []
    tested: dict[str, list[str]] = {
        name: []
        for name in (FOLD, ROW)
        if all(name in part.others.column_names for part in rows.values())
    }
    for fold in folds:
        said = []
        for name, part in runs.items():
            mine = _of(part, RUN, fold)
            if not mine.smiles or not _of(rows[name], FOLD, fold).smiles:
                raise UserError(
                    f"{part.path}: no prediction of run {fold!r}, which the others have; found "
                    f"{', '.join(sorted(set(part.others[RUN].to_pylist())))}"
                )
            said.append(align_predictions([mine], table))
        shared = np.isfinite(np.stack(said)).all(0)
        scores = {name: mean_auroc(labels, np.where(shared, values, np.float32(np.nan)))
                  for name, values in zip(runs, said, strict=True)}  # fmt: skip
        best = max(scores, key=lambda name: np.nan_to_num(scores[name], nan=-1.0))
        plain = {name: None if np.isnan(v) else float(v) for name, v in scores.items()}
        choices[fold] = {"chosen": best, **plain}
        taken = _of(rows[best], FOLD, fold)
        smiles += taken.smiles
        chosen.append(taken.values)
        for name, texts in tested.items():
            texts += taken.others[name].to_pylist()
    others = pa.table({name: pa.array(texts, pa.string()) for name, texts in tested.items()})
    write_predictions(out, smiles, np.concatenate(chosen), assays, others)
    return choices


def mean_auroc(labels: Float[np.ndarray, "n t"], predicted: Float[np.ndarray, "n t"]) -> float:
    """Mean over the assays where it is defined; NaN in either is left out."""
    found = score_assays(labels, predicted, fractions=(), drop_unpredicted=True)
    auroc = np.asarray(found.auroc, np.float64)
    defined = auroc[np.isfinite(auroc)]
    return float(defined.mean()) if defined.size else float("nan")


def _of(part: PredictionRows, column: str, value: str) -> PredictionRows:
    keep = np.flatnonzero(np.array(part.others[column].to_pylist()) == value)
    smiles = tuple(part.smiles[i] for i in keep.tolist())
    return PredictionRows(part.path, smiles, part.values[keep], part.others.take(pa.array(keep)))
