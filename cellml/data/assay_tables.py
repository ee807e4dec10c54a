"""Tables of assays as Chemprop's users have them: SMILES and one column an assay, mostly empty."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float, Integer

from cellml.data.text_tables import line_of, read_text_table, suggestion
from cellml.errors import UsageError, UserError

MISSING = ("", "nan", "NaN", "NA", "N/A", "null", "NULL", "None")
"""What an untested readout may look like."""

Kind = Literal["binary", "whole", "real", "empty"]


@dataclass(frozen=True)
class AssayTable:
    """Compounds and their readouts.

    Attributes:
      path: Where it was read from, for messages.
      smiles: Of each compound, as in the file; nothing was checked.
      labels: Readouts; NaN is not tested.
      names: Of the assays.
      others: The columns that are neither SMILES nor assays, as texts.
    """

    path: Path
    smiles: tuple[str, ...]
    labels: Float[np.ndarray, "n t"]
    names: tuple[str, ...]
    others: pa.Table

    def column(self, name: str) -> list[str]:
        """Texts of a column that is no assay.

        Raises:
          UserError: There is no such column; the message names the closest one.
        """
        if name not in self.others.column_names:
            known = self.others.column_names
            raise UserError(f"{self.path}: no column {name!r}{suggestion(name, known)}")
        return self.others[name].to_pylist()

    def kinds(self) -> tuple[Kind, ...]:
        """What the readouts of each assay are: 0 and 1 alone, whole numbers, or any."""
        return tuple(_kind(column[~np.isnan(column)]) for column in self.labels.T)

    def take(self, rows: Integer[np.ndarray, " m"]) -> "AssayTable":
        """The compounds of some rows."""
        smiles = tuple(self.smiles[i] for i in rows.tolist())
        return AssayTable(
            self.path, smiles, self.labels[rows], self.names, self.others.take(pa.array(rows))
        )


def read_assays(
    path: Path,
    *,
    smiles_column: str | None = None,
    targets: Sequence[str] | None = None,
    ignore: Sequence[str] = (),
) -> AssayTable:
    """Reads compounds with their readouts.

    Args:
      path: CSV, TSV (also gzipped) or Parquet.
      smiles_column: Column of the SMILES; the first one, if None, as in Chemprop.
      targets: Columns of assays, in the order wanted; all numeric ones, if None. A column counts
        as numeric where more than half of what is not missing are numbers: a slip of the pen then
        is an error and no silent loss of an assay. Columns without any value are left out.
      ignore: Columns that are no assays although they are numeric: a fold, a row number.

    Returns:
      The table; readouts are float32.

    Raises:
      UserError: The file cannot be read or has no row, a column is missing, or a value is no
        finite number; the message names line and column.
      UsageError: There is no assay, or a column is asked for twice.
    """
    table = read_text_table(path, required=[*([smiles_column] if smiles_column else []), *ignore])
    if not table.num_rows:
        raise UserError(f"{path}: no row below the header, one compound a row expected")
    smiles = smiles_column or table.column_names[0]
    reserved = {smiles, *ignore}
    candidates = [name for name in table.column_names if name not in reserved]
    if targets is not None:
        for i, name in enumerate(targets):
            if name not in table.column_names:
                raise UserError(f"{path}: no column {name!r}{suggestion(name, candidates)}")
            if name in reserved or name in targets[:i]:
                raise UsageError(f"column {name!r} cannot be an assay as well, or twice")
    names, columns = [], []
    for name in candidates if targets is None else targets:
        values, good = _numbers(table[name])
        known = ~np.isnan(values) | ~good
        if targets is None and not known.any():
            continue
        if targets is None and 2 * int((good & known).sum()) <= int(known.sum()):
            continue  # a column of texts
        if not good.all():
            row = int(np.argmin(good))
            raise UserError(
                f"{path}, line {line_of(row)}, column {name!r}: found "
                f"{table[name][row].as_py()!r}, expected a finite number, or nothing where the "
                "compound was not tested"
            )
        names.append(name)
        columns.append(values)
    if not names:
        raise UsageError(f"{path}: no numeric column besides {smiles!r}, so there is no assay")
    others = [name for name in table.column_names if name != smiles and name not in set(names)]
    return AssayTable(
        path,
        tuple(table[smiles].to_pylist()),
        np.stack(columns, axis=1),
        tuple(names),
        table.select(others),
    )


def read_smiles(path: Path, *, smiles_column: str | None = None) -> tuple[str, ...]:
    """Reads the compounds of a table that may have no assay.

    Args:
      path: As of `read_assays`.
      smiles_column: The first column, if None.

    Returns:
      SMILES, one a row, as they are.

    Raises:
      UserError: The file cannot be read or has no row, or there is no such column.
    """
    table = read_text_table(path, required=[smiles_column] if smiles_column else [])
    if not table.num_rows:
        raise UserError(f"{path}: no row below the header, one compound a row expected")
    return tuple(table[smiles_column or table.column_names[0]].to_pylist())


def require_binary(table: AssayTable) -> None:
    """Checks that every readout is 0 (no hit) or 1 (hit).

    Raises:
      UserError: One is not; the message names line and column.
    """
    strange = ~np.isnan(table.labels) & (table.labels != 0) & (table.labels != 1)
    if strange.any():
        row, column = np.argwhere(strange)[0].tolist()
        n_columns = int(strange.any(0).sum())
        raise UserError(
            f"{table.path}, line {line_of(row)}, column {table.names[column]!r}: found "
            f"{table.labels[row, column]:g}, expected 0 (no hit), 1 (hit) or nothing; such values "
            f"are in {n_columns} of {len(table.names)} columns. Name the assays with --targets, "
            "or train a regression"
        )


def require_classes(table: AssayTable, n_classes: int = 0) -> int:
    """Checks that every readout is the number of a class.

    Args:
      table: Readouts.
      n_classes: Classes of each assay; 0 for as many as the largest number tells of.

    Returns:
      The number of classes, at least 2.

    Raises:
      UserError: A readout is none; the message names line and column.
    """
    values = np.nan_to_num(table.labels)
    count = n_classes or max(2, int(values.max(initial=0)) + 1)
    strange = (values != np.round(values)) | (values < 0) | (values >= count)
    if strange.any():
        row, column = np.argwhere(strange)[0].tolist()
        raise UserError(
            f"{table.path}, line {line_of(row)}, column {table.names[column]!r}: found "
            f"{table.labels[row, column]:g}, expected the number of a class from 0 to {count - 1}"
        )
    return count


def _numbers(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Values as float32 with NaN where missing, and which are either missing or finite."""
    text = column.combine_chunks()
    missing = pc.is_in(text, value_set=pa.array(MISSING))
    text = pc.if_else(missing, pa.scalar(None, pa.string()), text)
    try:
        values = pc.cast(text, pa.float64()).to_numpy(zero_copy_only=False).astype(np.float64)
    except pa.ArrowInvalid:  # some text is no number; which one only a loop finds
        values = np.array([_number(value) for value in text.to_pylist()], np.float64)
    gone = missing.to_numpy(zero_copy_only=False)
    with np.errstate(over="ignore"):
        single = values.astype(np.float32)
    good = gone | np.isfinite(single)
    return np.where(good, single, np.float32(np.nan)), good


def _number(text: str | None) -> float:
    try:
        return float("nan" if text is None or "_" in text else text)  # Python reads 1_0 as 10
    except ValueError:
        return float("nan")


def _kind(values: np.ndarray) -> Kind:
    if not values.size:
        return "empty"
    if ((values == 0) | (values == 1)).all():
        return "binary"
    return "whole" if (values == np.round(values)).all() else "real"
