"""Predictions in files: SMILES and a column an assay, as Chemprop writes them, joined to the truth.

A prediction belongs to the compound with the same SMILES. Where that is written several times in
the table of compounds (as other salts or batches of it), one prediction serves all of its rows, and
as many predictions as rows are taken in order. A column of folds in both files tells them apart,
and so does a column `row` with the row of that table.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float, Integer

from cellml.data.assay_tables import MISSING, AssayTable
from cellml.data.text_tables import line_of, read_text_table, suggestion, write_csv
from cellml.errors import UserError

ROW = "row"
"""Column of predictions: the row of the table of compounds, from 0."""
REASON = "rejected"
"""Column that says why a row has no prediction."""
NO_PREDICTION = (*MISSING, "Invalid SMILES")
"""The last is what Chemprop 1 writes."""


@dataclass(frozen=True)
class PredictionRows:
    """Predictions as they stand in a file.

    Attributes:
      path: The file.
      smiles: Of each row.
      values: A column an assay; NaN where nothing is predicted.
      others: The other columns, as texts.
    """

    path: Path
    smiles: tuple[str, ...]
    values: Float[np.ndarray, "m t"]
    others: pa.Table


def read_prediction_rows(
    path: Path, assays: Sequence[str], *, smiles_column: str | None = None
) -> PredictionRows:
    """Reads a file of predictions.

    Args:
      path: CSV, TSV (also gzipped) or Parquet.
      assays: Columns to read, in this order.
      smiles_column: The first column, if None or if the file has no such column.

    Returns:
      The rows.

    Raises:
      UserError: The file cannot be read, an assay is missing, or a value is no number; the
        message names line and column.
    """
    table = read_text_table(path)
    smiles = smiles_column if smiles_column in table.column_names else table.column_names[0]
    columns = []
    for name in assays:
        if name not in table.column_names or name == smiles:
            known = [column for column in table.column_names if column != smiles]
            missing = sum(other not in table.column_names for other in assays)
            raise UserError(
                f"{path}: no predictions of assay {name!r}{suggestion(name, known)}; "
                f"{missing} of {len(assays)} assays are missing"
            )
        columns.append(_numbers(path, name, table[name].combine_chunks()))
    values = np.stack(columns, axis=1) if columns else np.zeros((table.num_rows, 0), np.float32)
    others = [name for name in table.column_names if name != smiles and name not in set(assays)]
    return PredictionRows(path, tuple(table[smiles].to_pylist()), values, table.select(others))


def write_predictions(
    path: Path,
    smiles: Sequence[str],
    values: Float[np.ndarray, "n t"],
    assays: Sequence[str],
    others: pa.Table | None = None,
) -> None:
    """Writes predictions as float32, with all their digits; NaN as nothing.

    Args:
      path: CSV.
      smiles: Of each row.
      values: A column an assay.
      assays: Their names.
      others: Columns to stand between, such as the fold.
    """
    columns = {"smiles": pa.array(list(smiles), pa.string())}
    if others is not None:
        columns |= {name: others[name] for name in others.column_names}
    for name, column in zip(assays, values.T, strict=True):
        texts = column.astype(np.float32).astype(str).tolist()
        columns[name] = pa.array(["" if text == "nan" else text for text in texts], pa.string())
    write_csv(path, pa.table(columns))


def align_predictions(
    parts: Sequence[PredictionRows], table: AssayTable, *, fold_column: str | None = None
) -> Float[np.ndarray, "n t"]:
    """Joins the predictions of one predictor, of one file or several, to a table of compounds.

    Args:
      parts: As read, all of the same assays.
      table: The compounds.
      fold_column: A column that tells compounds with equal SMILES apart, where both have it.

    Returns:
      Predictions of every compound; NaN where there is none.

    Raises:
      UserError: A SMILES is not in the table, or a compound is predicted more than once.
    """
    width = parts[0].values.shape[1]
    joined = np.full((len(table.smiles), width), np.nan, np.float32)
    written = np.full(len(table.smiles), -1)
    for number, part in enumerate(parts):
        rows, sources = match_rows(part, table, fold_column=fold_column)
        if (twice := written[rows] >= 0).any():
            row = int(rows[np.argmax(twice)])
            raise UserError(
                f"{part.path}: {table.smiles[row]!r} ({table.path}, line {line_of(row)}) is "
                f"predicted in {parts[int(written[row])].path} as well"
            )
        joined[rows] = part.values[sources]
        written[rows] = number
    return joined


def match_rows(
    part: PredictionRows, table: AssayTable, *, fold_column: str | None = None
) -> tuple[Integer[np.ndarray, " k"], Integer[np.ndarray, " k"]]:
    """Finds which row of a file of predictions belongs to which compound.

    Args:
      part: Predictions as read.
      table: The compounds.
      fold_column: See `align_predictions`.

    Returns:
      Rows of the table, and for each the row of the file.

    Raises:
      UserError: A SMILES is not in the table, or there is neither one prediction of it nor one
        for each of its rows.
    """
    by_fold = (
        fold_column is not None
        and fold_column in table.others.column_names
        and fold_column in part.others.column_names
    )
    if part.smiles == table.smiles and not by_fold:
        return (every := np.arange(len(table.smiles))), every
    if (given := _given_rows(part, table)) is not None:
        return given
    theirs = _keys(table.smiles, table.column(fold_column) if by_fold and fold_column else None)
    ours = _keys(
        part.smiles, part.others[fold_column].to_pylist() if by_fold and fold_column else None
    )
    rows_of = _places(theirs)
    rows, sources = [], []
    for key, lines in _places(ours).items():
        found = rows_of.get(key, [])
        if not found:
            what = f"{key[0]!r}" + (f" with {fold_column} {key[1]!r}" if by_fold else "")
            raise UserError(f"{part.path}, line {line_of(lines[0])}: {what} is not in {table.path}")
        if len(lines) not in (1, len(found)):
            raise UserError(
                f"{part.path}, line {line_of(lines[1])}: {len(lines)} predictions of {key[0]!r} "
                f"found, 1 or {len(found)} expected, as often as it is in {table.path}"
            )
        rows += found
        sources += lines if len(lines) == len(found) else lines * len(found)
    order = np.argsort(np.array(rows, np.int64), kind="stable")
    return np.array(rows, np.int64)[order], np.array(sources, np.int64)[order]


def _given_rows(part: PredictionRows, table: AssayTable) -> tuple[np.ndarray, np.ndarray] | None:
    """By the column `row`, where it is there and speaks of the same compounds all through."""
    if ROW not in part.others.column_names:
        return None
    texts = part.others[ROW].to_pylist()
    places = table.others[ROW].to_pylist() if ROW in table.others.column_names else None
    place_of = {text: i for i, text in enumerate(places or map(str, range(len(table.smiles))))}
    found = [place_of.get(text, -1) for text in texts]
    for place, smiles in zip(found, part.smiles, strict=True):
        if place < 0 or table.smiles[place] != smiles:
            return None  # of another table
    if len(set(found)) < len(found):
        return None
    order = np.argsort(np.array(found, np.int64), kind="stable")
    return np.array(found, np.int64)[order], order


def _keys(smiles: Sequence[str], folds: Sequence[str] | None) -> list[tuple[str, str]]:
    return list(zip(smiles, folds or [""] * len(smiles), strict=True))


def _places(keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], list[int]]:
    places: dict[tuple[str, str], list[int]] = {}
    for row, key in enumerate(keys):
        places.setdefault(key, []).append(row)
    return places


def _numbers(path: Path, name: str, column: pa.Array) -> np.ndarray:
    missing = pc.is_in(column, value_set=pa.array(NO_PREDICTION))
    texts = pc.if_else(missing, pa.scalar(None, pa.string()), column)
    try:
        values = pc.cast(texts, pa.float64()).to_numpy(zero_copy_only=False).astype(np.float32)
    except pa.ArrowInvalid:
        values = np.array([_number(text) for text in texts.to_pylist()], np.float32)
    bad = ~np.isfinite(values) & ~missing.to_numpy(zero_copy_only=False)
    if bad.any():
        row = int(np.argmax(bad))
        raise UserError(
            f"{path}, line {line_of(row)}, column {name!r}: found {column[row].as_py()!r}, "
            "expected a finite number, or nothing where there is no prediction"
        )
    return values


def _number(text: str | None) -> float:
    try:
        return float("nan" if text is None else text)
    except ValueError:
        return float("nan")
