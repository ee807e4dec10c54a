"""Features of compounds in files: fingerprints, descriptors, profiles; Chemprop's npz and CSV too.

A file belongs to a table of compounds either row by row, as Chemprop has it, or by a column of
SMILES. pandas, slow to import, is imported where it is used.
"""

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Bool, Float32, Integer, Shaped

from cellml.data.text_tables import line_of, refuse_semicolons
from cellml.data.writers import ZIP_DATE, atomic
from cellml.errors import UsageError, UserError

SUFFIXES = (".npz", ".npy", ".parquet", ".csv", ".csv.gz", ".tsv")
ARRAYS = ("arr_0", "features")
"""Names that Chemprop 2 and 1 give to the array of an npz file."""
KEYS = ("smiles", "metadata_smiles", "canonical_smiles")
"""Columns of SMILES, in small letters."""


@dataclass(frozen=True)
class CompoundFeatures:
    """Features of the compounds of a table, row by row.

    Attributes:
      path: Where they were read from.
      names: Of the features.
      values: NaN where a compound has none.
      named: Whether the file names its features; otherwise `names` only number them.
    """

    path: Path
    names: tuple[str, ...]
    values: Float32[np.ndarray, "n f"]
    named: bool = True

    @property
    def there(self) -> Bool[np.ndarray, " n"]:
        """Compounds with a number at least."""
        return np.asarray(~np.isnan(self.values).all(1))


def read_features(path: Path, smiles: Sequence[str], *, may_lack: bool = False) -> CompoundFeatures:
    """Reads features of the compounds of a table.

    Args:
      path: NumPy: the array `arr_0`, `features` or the only one, a row a compound; what
        `write_features` wrote also says which compounds have none. Or a table (CSV, TSV,
        Parquet) of numbers: by its column of SMILES if it has one, else row by row; columns
        `Metadata_...` and of texts are no features.
      smiles: Of the table's compounds.
      may_lack: Whether a file with a column of SMILES may know none of them.

    Returns:
      The features, compounds without any as NaN.

    Raises:
      UserError: The file cannot be read, is of another number of compounds, knows none of them,
        describes one twice in two ways, or holds something that is no finite number.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    if path.suffix in (".npz", ".npy"):
        return _from_numpy(path, len(smiles))
    table = _read_table(path, may_lack)
    keys = [name for name in table.columns if str(name).lower() in KEYS]
    names, values = _numbers(path, table.drop(columns=keys))
    if keys:
        known = table[keys[0]].fillna("").astype(str).tolist()
        values = _by_smiles(path, known, values, smiles, may_lack)
    elif len(values) != len(smiles):
        raise _wrong_length(path, len(values), len(smiles), "and no column of SMILES ")
    return CompoundFeatures(path, names, values)


def write_features(
    path: Path,
    smiles: Sequence[str],
    rows: Integer[np.ndarray, " m"],
    values: Shaped[np.ndarray, "m f"],
    names: Sequence[str],
) -> None:
    """Writes features, whole or not at all; equal features give equal bytes.

    Args:
      path: `.npz`: `arr_0` as in Chemprop with the features of `rows`, and `rows`, `n_rows`,
        `names` beside it. `.csv` or `.parquet`: a column of SMILES, then the features.
      smiles: Of all compounds of a table.
      rows: Which of them have features.
      values: Their features.
      names: Of the features.

    Raises:
      UsageError: The ending is another one.
    """
    if path.suffix == ".npz":
        arrays = {
            "arr_0": values,
            "rows": rows,
            "n_rows": np.array(len(smiles)),
            "names": np.array(list(names), dtype=np.str_),
        }
        with atomic(path) as temporary, zipfile.ZipFile(temporary, "w") as file:
            for name, array in arrays.items():
                buffer = io.BytesIO()
                np.lib.format.write_array(buffer, array, allow_pickle=False)
                entry = zipfile.ZipInfo(f"{name}.npy", ZIP_DATE)
                file.writestr(entry, buffer.getvalue(), zipfile.ZIP_DEFLATED)
        return
    columns = [pa.array([smiles[row] for row in rows.tolist()], pa.string())]
    columns += [pa.array(column) for column in np.ascontiguousarray(values.T)]
    table = pa.table(columns, names=["smiles", *names])
    with atomic(path) as temporary:
        if path.suffix == ".parquet":
            pq.write_table(table, temporary, compression="zstd")
        elif path.suffix == ".csv":
            table.to_pandas().to_csv(temporary, index=False, lineterminator="\n")
        else:
            raise UsageError(f"{path}: features are written as .npz, .parquet or .csv")


def numbered(n: int) -> tuple[str, ...]:
    """Names of features that have none."""
    return tuple(f"f{i}" for i in range(n))


def _from_numpy(path: Path, n: int) -> CompoundFeatures:
    try:
        if path.suffix == ".npy":
            arrays = {"arr_0": np.load(path, allow_pickle=False)}
        else:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise UserError(f"{path}: cannot be read as arrays of numbers ({error})") from error
    known = [name for name in (*ARRAYS, *list(arrays)[:1]) if name in arrays]
    values = arrays[known[0]] if known else np.zeros(0)
    if values.ndim != 2 or values.dtype.kind not in "fiub":
        raise UserError(
            f"{path}: array {known[:1]} of {values.dtype} has shape {values.shape}, numbers with a "
            "row a compound and a column a feature expected"
        )
    rows = arrays.get("rows")
    total = int(arrays["n_rows"]) if "n_rows" in arrays else len(values)
    if total != n:
        raise _wrong_length(path, total, n)
    width = values.size // max(len(values), 1)
    named = "names" in arrays
    names = tuple(arrays["names"].astype(str).tolist()) if named else numbered(width)
    if len(names) != width:
        raise UserError(f"{path}: {len(names)} names of {width} features found")
    filled = values.astype(np.float32)
    if rows is not None:
        filled = np.full((n, width), np.nan, np.float32)
        filled[rows] = values
    if np.isinf(filled).any():
        row, column = np.argwhere(np.isinf(filled))[0].tolist()
        raise UserError(
            f"{path}: row {row}, feature {names[column]} is infinite, a number expected"
        )
    return CompoundFeatures(path, names, filled, named)


def _read_table(path: Path, may_lack: bool) -> Any:
    import pandas as pd

    try:
        if path.suffix == ".parquet":
            table = pd.read_parquet(path)
        else:
            separator = "\t" if ".tsv" in path.suffixes else ","
            table = pd.read_csv(path, sep=separator, low_memory=False)
    except (ValueError, OSError, pd.errors.ParserError, UnicodeDecodeError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise UserError(f"{path}: not a readable table of features ({reason})") from error
    refuse_semicolons(path, list(map(str, table.columns)))
    if not len(table) and not may_lack:
        raise UserError(f"{path}: no row below the header, one compound a row expected")
    return table


def _numbers(path: Path, table: Any) -> tuple[tuple[str, ...], np.ndarray]:
    import pandas as pd

    names, columns = [], []
    for name in map(str, table.columns):
        if name.startswith("Metadata_"):
            continue
        column = table[name]
        numbers = pd.to_numeric(column, errors="coerce").to_numpy(np.float64)
        empty = column.isna().to_numpy()
        bad = (np.isnan(numbers) & ~empty) | np.isinf(numbers)
        if (bad.size and bad.all()) or ((bad | empty).all() and bad.any()):
            continue  # a column of texts
        if bad.any():
            row = int(np.argmax(bad))
            raise UserError(
                f"{path}, line {line_of(row)}, column {name!r}: found {column.iloc[row]!r}, "
                "expected a finite number, or nothing"
            )
        names.append(name)
        columns.append(numbers.astype(np.float32))
    if not names:
        raise UserError(f"{path}: no column of numbers, found {list(table.columns)[:5]}")
    return tuple(names), np.stack(columns, axis=1)


def _by_smiles(
    path: Path, keys: Sequence[str], values: np.ndarray, smiles: Sequence[str], may_lack: bool
) -> np.ndarray:
    row_of: dict[str, int] = {}
    for row, key in enumerate(keys):
        first = row_of.setdefault(key, row)
        if first != row and not np.array_equal(values[first], values[row], equal_nan=True):
            raise UserError(
                f"{path}, lines {line_of(first)} and {line_of(row)}: two different rows for {key}, "
                "one a compound expected (average replicates first)"
            )
    found = np.array([row_of.get(text, -1) for text in smiles], np.int64)
    if (found < 0).all() and not may_lack:
        raise UserError(
            f"{path}: none of the {len(smiles)} compounds is among its SMILES (the first is "
            f"{keys[0]!r}); they have to be written alike"
        )
    filled = np.full((len(smiles), values.shape[1]), np.nan, np.float32)
    filled[found >= 0] = values[found[found >= 0]]
    return filled


def _wrong_length(path: Path, found: int, expected: int, besides: str = "") -> UserError:
    return UserError(
        f"{path}: {found} rows {besides}found, {expected} expected, one for each row of the table "
        "of compounds"
    )
