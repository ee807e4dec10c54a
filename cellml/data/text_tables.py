"""Tables that people hand over as text: CSV, tab-separated, gzipped or Parquet, read as strings.

Nothing is guessed from the values: a plate called `0012` stays `0012`.
"""

import csv
import difflib
import gzip
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from cellml.data.writers import atomic
from cellml.errors import UserError

BLOCK_ROWS = 2**14
"""Rows that are held as Python objects at a time."""


def read_text_table(path: Path, *, required: Sequence[str] = ()) -> pa.Table:
    """Reads a table with every column as strings.

    Args:
      path: `.csv`, `.txt` or `.tsv` (the header decides between tab and comma), the same with
        `.gz`, or `.parquet`. Blank lines are left out; values lose surrounding blanks.
      required: Columns that must be there.

    Returns:
      The table; a missing value of a Parquet file is an empty string.

    Raises:
      UserError: Unreadable, no header, a repeated or missing column, or a row of another length.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    table = _read_parquet(path) if path.suffix == ".parquet" else _read_text(path)
    for name in required:
        if name not in table.column_names:
            raise UserError(f"{path}: no column {name!r}{suggestion(name, table.column_names)}")
    return table


def line_of(row: int) -> int:
    """Returns the line of a text file that holds a row (from 0), if no value spans lines."""
    return row + 2


def suggestion(name: str, known: Iterable[str]) -> str:
    """Returns what to put behind a complaint about `name`: the closest of `known`, or all."""
    known = list(known)
    folded = {candidate.casefold(): candidate for candidate in known}
    close = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.6)
    if close:
        return f" (did you mean {folded[close[0]]!r}?)"
    return f" (found: {', '.join(known)})" if known else ""


def refuse_semicolons(path: Path, names: Sequence[str]) -> None:
    """Raises a UserError where a header that was cut at commas or tabs has semicolons instead."""
    if len(names) == 1 and ";" in names[0]:
        raise UserError(
            f"{path}: one column {names[0]!r} found: its values are separated by semicolons, "
            "commas or tabs expected (and a point in numbers)"
        )


def write_csv(path: Path, table: pa.Table) -> None:
    """Writes a table as CSV, whole or not at all; missing values become empty."""
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(table.column_names)
        lines.writerows(zip(*(column.to_pylist() for column in table.columns), strict=True))


def _read_parquet(path: Path) -> pa.Table:
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(f"{path}: cannot be read as Parquet ({error})") from error
    columns = [
        ["" if value is None else str(value) for value in column.to_pylist()]
        for column in table.columns
    ]
    return _strings(table.column_names, columns)


def _read_text(path: Path) -> pa.Table:
    return pa.concat_tables(text_blocks(path))


def text_blocks(path: Path, *, rows: int = BLOCK_ROWS) -> Iterator[pa.Table]:
    """Reads a table of text as `read_text_table` does, a block of rows at a time.

    Args:
      path: As there, but no Parquet.
      rows: Of a block; what is held as Python objects at any time.

    Yields:
      Tables with the same columns; the first may be empty.

    Raises:
      UserError: As there.
    """
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
            head = file.readline()
            delimiter = "\t" if head.count("\t") > head.count(",") else ","
            names = [name.strip() for name in next(csv.reader([head], delimiter=delimiter), [])]
            if not any(names):
                raise UserError(f"{path}: empty, a header with column names expected")
            refuse_semicolons(path, names)
            if repeated := sorted({name for name in names if names.count(name) > 1}):
                raise UserError(f"{path}: column {repeated[0]!r} occurs more than once")
            columns: list[list[str]] = [[] for _ in names]
            lines = csv.reader(file, delimiter=delimiter)
            for values in lines:
                if not values:
                    continue
                if len(values) != len(names):
                    raise UserError(
                        f"{path}, line {lines.line_num + 1}: {len(values)} values found, "
                        f"{len(names)} expected as in the header"
                    )
                for column, value in zip(columns, values, strict=True):
                    column.append(value.strip())
                if len(columns[0]) == rows:
                    yield _strings(names, columns)
                    columns = [[] for _ in names]
            yield _strings(names, columns)
    except (OSError, UnicodeDecodeError, csv.Error, EOFError) as error:
        raise UserError(f"{path}: cannot be read as a text table ({error})") from error


def _strings(names: Sequence[str], columns: Sequence[Sequence[str]]) -> pa.Table:
    arrays = [pa.array(column, pa.string()) for column in columns]
    return pa.table(dict(zip(names, arrays, strict=True)))
