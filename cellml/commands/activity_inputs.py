"""What the commands on compounds share: the table they begin with, the fold of every compound."""

import csv
import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Bool, Float, Int

from cellml.data.assay_tables import AssayTable, read_assays
from cellml.data.split_files import CompoundSplit, read_splits
from cellml.data.text_tables import line_of
from cellml.errors import UsageError, UserError

PART_NAMES = {"train": 0, "training": 0, "val": 1, "valid": 1, "validation": 1, "test": 2}
PARTS = ("train", "val", "test")
FOLD = "fold"


@dataclass(frozen=True)
class CompoundSource:
    """Which compounds and assays to read.

    Attributes:
      path: CSV, TSV (also gzipped) or Parquet.
      smiles_column: The first column, if None.
      targets: Assays; all numeric columns, if empty.
      ignore: Numeric columns that are no assays.
    """

    path: Path
    smiles_column: str | None = None
    targets: Sequence[str] = ()
    ignore: Sequence[str] = ()

    def read(self, *, besides: Sequence[str] = ()) -> AssayTable:
        """Reads them; columns `besides` are no assays either, where there are such.

        Raises:
          UserError, UsageError: As `read_assays`, or one of `besides` is the column of SMILES.
        """
        names = column_names(self.path)
        if self.smiles_name in besides:
            raise UsageError(
                f"{self.path}: column {self.smiles_name!r} is asked for as folds, but is "
                + ("the SMILES" if self.smiles_column else "the first and so read as SMILES")
                + "; --smiles-column names another"
            )
        more = [name for name in besides if name in names and name not in self.ignore]
        return read_assays(
            self.path,
            smiles_column=self.smiles_column,
            targets=list(self.targets) or None,
            ignore=[*self.ignore, *more],
        )

    @property
    def smiles_name(self) -> str:
        """Name of the column of SMILES."""
        return self.smiles_column or column_names(self.path)[0]


def column_names(path: Path) -> list[str]:
    """Header of a table; empty if it cannot be read, which whoever reads the table will tell."""
    try:
        if path.suffix == ".parquet":
            return list(pq.read_schema(path).names)
        opened = gzip.open if path.suffix == ".gz" else open
        with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
            head = file.readline()
        delimiter = "\t" if head.count("\t") > head.count(",") else ","
        return [name.strip() for name in next(csv.reader([head], delimiter=delimiter), [])] or [""]
    except (OSError, UnicodeDecodeError, csv.Error, EOFError, pa.ArrowInvalid):
        return [""]


@dataclass(frozen=True)
class CompoundFolds:
    """Where every compound of a table is tested.

    Attributes:
      fold: Number of its fold, -1 for none.
      names: Of the folds.
      tested: Numbers of the folds that are held out in turn: all, or the test part alone.
      splits: What each of `tested` trains on and validates with, where a file says so; it may leave
        compounds out.
    """

    fold: Int[np.ndarray, " n"]
    names: tuple[str, ...]
    tested: tuple[int, ...]
    splits: tuple[CompoundSplit, ...] = ()

    def split_of(self, tested: int) -> CompoundSplit:
        """What a training that holds out a fold learns from, is chosen by, and is tested on.

        Args:
          tested: Number of the fold.

        Returns:
          Rows. Without `splits` the second of three parts validates; of folds, all others train.
        """
        if self.splits:
            return self.splits[self.tested.index(tested)]
        validates = np.zeros(len(self.fold), bool)
        if self.names == PARTS:
            validates = self.fold == 1
        tests = self.fold == tested
        trains = (self.fold >= 0) & ~validates & ~tests
        return CompoundSplit(*(np.flatnonzero(side) for side in (trains, validates, tests)))

    def trains(self, tested: int) -> Bool[np.ndarray, " n"]:
        """Compounds of the training part of `split_of`."""
        mask = np.zeros(len(self.fold), bool)
        mask[self.split_of(tested).train] = True
        return mask


def read_folds(
    table: AssayTable, *, column: str | None = None, splits_file: Path | None = None
) -> CompoundFolds | None:
    """Folds by a column or by a splits JSON.

    Args:
      table: Compounds.
      column: Names the fold, or the part (train, val, test), of each compound; may be empty.
      splits_file: See `cellml.data.split_files`; of several splits each tests a fold, a single one
        has three parts.

    Returns:
      The folds; None if neither is given.

    Raises:
      UsageError: Both are given.
      UserError: The column or file is not there, or a compound is tested twice.
    """
    if column and splits_file:
        raise UsageError("a column of folds and a file of splits exclude each other")
    if splits_file:
        return _from_file(splits_file, len(table.smiles))
    if not column:
        return None
    return folds_of_texts(table.column(column), table.path, column)


def folds_of_texts(texts: Sequence[str], path: Path, column: str) -> CompoundFolds:
    """Folds by their names, or parts; arguments and errors as of `read_folds`.

    Args:
      texts: Of each compound; may be empty.
      path: Of the table, for messages.
      column: Likewise.

    Returns:
      The folds.
    """
    from cellml.screening.splits import column_folds  # slow to import

    texts = [text.strip() for text in texts]
    fold = np.full(len(texts), -1, np.int64)
    lowered = {text.lower() for text in texts} - {""}
    if lowered and lowered <= set(PART_NAMES):
        fold[:] = [PART_NAMES.get(text.lower(), -1) for text in texts]
        return CompoundFolds(fold, PARTS, (2,))
    inside = [i for i, text in enumerate(texts) if text]
    if not inside:
        raise UserError(f"{path}, column {column!r}: no compound has a fold")
    fold[inside], names = column_folds([texts[i] for i in inside])
    if len(names) > max(2, len(inside) // 2):
        raise UserError(
            f"{path}, line {line_of(inside[0])}, column {column!r}: found "
            f"{len(names)} different values as {names[0]!r}, folds expected"
        )
    return CompoundFolds(fold, names, tuple(range(len(names))))


def binary_fractions(text: str) -> tuple[float, float, float]:
    """Reads `.8,.1,.1`.

    Raises:
      UsageError: These are not three numbers.
    """
    try:
        train, val, test = (float(piece) for piece in text.split(","))
    except ValueError as error:
        raise UsageError(f"--fractions {text}: three shares as .8,.1,.1 expected") from error
    return train, val, test


def named_files(texts: Sequence[str], what: str) -> dict[str, list[Path]]:
    """Reads `NAME=FILE` or `FILE` (named by its stem); a name may have several files.

    Args:
      texts: As on the command line.
      what: Of the files, for messages.

    Returns:
      Files by name.

    Raises:
      UsageError: There is none, or one is not there.
    """
    found: dict[str, list[Path]] = {}
    for text in texts:
        name, sign, file = text.partition("=")
        path = Path(file if sign else text)
        if not path.is_file():
            raise UsageError(f"{text}: no file {path} ({what} as NAME=FILE expected)")
        found.setdefault(name if sign else path.name.split(".")[0], []).append(path)
    if not found:
        raise UsageError(f"no {what} given, NAME=FILE expected")
    return found


def texts_of(labels: Float[np.ndarray, " n"]) -> list[str]:
    """Readouts as they are written: 1 rather than 1.0, nothing where missing."""
    return ["" if np.isnan(value) else f"{value:.9g}" for value in labels.tolist()]


def folds_of_splits(splits: Sequence[CompoundSplit], n: int) -> CompoundFolds:
    """Splits whose test parts do not overlap as folds; a single one has three parts.

    Args:
      splits: At least one.
      n: Rows of the table.

    Returns:
      The folds, numbered in order.
    """
    fold = np.full(n, -1, np.int64)
    if len(splits) == 1:
        for part, rows in enumerate(splits[0]):
            fold[rows] = part
        return CompoundFolds(fold, PARTS, (2,), tuple(splits))
    for number, split in enumerate(splits):
        fold[split.test] = number
    numbers = tuple(range(len(splits)))
    return CompoundFolds(fold, tuple(map(str, numbers)), numbers, tuple(splits))


def _from_file(path: Path, n: int) -> CompoundFolds:
    splits = read_splits(path, n)
    tested = np.full(n, -1)
    for number, split in enumerate(splits if len(splits) > 1 else []):
        if (taken := tested[split.test] >= 0).any():
            row = int(split.test[np.argmax(taken)])
            raise UserError(
                f"{path}: row {row} (line {line_of(row)} of the table) is tested by splits "
                f"{tested[row]} and {number}; folds that do not overlap expected (give replicates "
                "one at a time)"
            )
        tested[split.test] = number
    return folds_of_splits(splits, n)
