"""More metadata for a table of profiles, from a second table: `--metadata FILE --on plate,well`."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from cellml.data.profile_columns import METADATA, metadata_name
from cellml.data.text_tables import read_text_table, suggestion
from cellml.data.wells import normalise_well
from cellml.errors import UsageError, UserError


class MetadataJoin(NamedTuple):
    """What a table of metadata says of each key.

    Attributes:
      path: Of the table.
      keys: Names of the columns that are compared, as the user wrote them: of the profiles, and of
        this table.
      columns: Names `Metadata_...` of what it adds.
      rows: Texts of `columns` by key; see `canonical`.
      notes: What was left out, for people.
    """

    path: Path
    keys: tuple[tuple[str, str], ...]
    columns: tuple[str, ...]
    rows: dict[tuple[str, ...], tuple[str, ...]]
    notes: tuple[str, ...]


def pair_joins(paths: Sequence[Path], on: Sequence[str]) -> list[tuple[Path, str]]:
    """Puts every `--metadata` beside its `--on`.

    Raises:
      UsageError: There are not as many of one as of the other.
    """
    if len(paths) != len(on):
        raise UsageError(
            f"{len(paths)} --metadata and {len(on)} --on found: every table of metadata needs the "
            "columns to join it by, as --metadata FILE --on plate,well"
        )
    return list(zip(paths, on, strict=True))


def read_join(path: Path, on: str) -> MetadataJoin:
    """Reads a table of metadata.

    Args:
      path: CSV, TSV or Parquet.
      on: Columns to compare, as `plate,well`, or `plate=Plate_Name,well` where they have another
        name here. `Metadata_` may be left out, and case does not matter.

    Returns:
      Its rows by key. Rows of an empty key are left out, and so are columns that say different
      things of one key.

    Raises:
      UserError: The table cannot be read or has no such column.
      UsageError: `on` cannot be read.
    """
    parts = [part.strip() for part in on.split(",")]
    pairs = [tuple(part.split("=", 1)) if "=" in part else (part, part) for part in parts]
    keys = tuple((left.strip(), right.strip()) for left, right in pairs)
    if not all(left and right for left, right in keys):
        raise UsageError(f"--on {on!r}: columns such as plate,well or plate=Plate_Name expected")
    table = read_text_table(path)
    right = [find_column(name, table.column_names, path) for _, name in keys]
    columns = {n: _new_name(n) for n in table.column_names if n not in right}
    texts = [table[name].to_pylist() for name in columns]
    found: dict[tuple[str, ...], list[str]] = {}
    differing: set[int] = set()
    key_of_row = _keys([table[name].to_pylist() for name in right], [left for left, _ in keys])
    for row, key in enumerate(key_of_row):
        if not all(key):
            continue
        line = [column[row] for column in texts]
        before = found.setdefault(key, line)
        if before is not line:
            differing.update(i for i, text in enumerate(line) if text != before[i])
    names = list(columns.values())
    kept = [i for i in range(len(names)) if i not in differing]
    notes = []
    if differing:
        first = next(name for i, name in enumerate(columns) if i in differing)
        notes.append(
            f"{path}: {len(differing)} columns say different things of one {on} and were left out "
            f"(the first: {first})"
        )
    rows = {key: tuple(line[i] for i in kept) for key, line in found.items()}
    return MetadataJoin(path, keys, tuple(names[i] for i in kept), rows, tuple(notes))


def join_metadata(metadata: pd.DataFrame, join: MetadataJoin) -> tuple[pd.DataFrame, int]:
    """Adds the columns of a table of metadata; those that are there already stay.

    Args:
      metadata: Texts, columns named `Metadata_...`.
      join: From `read_join`.

    Returns:
      The metadata with more columns, the empty text where no key fits; and how many rows fit.

    Raises:
      UserError: A key is no column of the metadata.
    """
    names = [find_column(left, list(metadata.columns), "profiles") for left, _ in join.keys]
    keys = _keys([metadata[name].tolist() for name in names], [left for left, _ in join.keys])
    nothing = ("",) * len(join.columns)
    lines = [join.rows.get(key, nothing) for key in keys]
    added = {
        name: [line[i] for line in lines]
        for i, name in enumerate(join.columns)
        if name not in metadata.columns
    }
    more = pd.DataFrame(added, index=metadata.index, columns=list(added), dtype=str)
    return pd.concat([metadata, more], axis=1), sum(key in join.rows for key in keys)


def join_all(
    metadata: pd.DataFrame, joins: Sequence[MetadataJoin]
) -> tuple[pd.DataFrame, tuple[int, ...]]:
    """Adds tables of metadata one after the other; returns also how many rows each fits."""
    counts = []
    for join in joins:
        metadata, found = join_metadata(metadata, join)
        counts.append(found)
    return metadata, tuple(counts)


def check_joins(joins: Sequence[MetadataJoin], counts: Sequence[int], n_rows: int) -> list[str]:
    """Says what tables of metadata left open.

    Args:
      joins: From `read_join`.
      counts: Rows that each fits, from `join_all`.
      n_rows: Rows that there are.

    Returns:
      Notes for people.

    Raises:
      UserError: A table fits no row at all; the message has one of its keys.
    """
    notes = []
    for join, found in zip(joins, counts, strict=True):
        on = ",".join(left for left, _ in join.keys)
        if not found:
            example = " / ".join(next(iter(join.rows), ()))
            raise UserError(f"{join.path}: no profile has a {on} of this table, such as {example}")
        notes += join.notes
        if found < n_rows:
            notes.append(f"{join.path}: {n_rows - found} of {n_rows} rows have no {on} there")
    return notes


def find_column(name: str, columns: Sequence[str], where: object) -> str:
    """Finds a column by its name, with or without `Metadata_`, in capitals or not.

    Args:
      name: As the user wrote it.
      columns: There are.
      where: For the message.

    Returns:
      The column.

    Raises:
      UserError: There is none, or several that only case tells apart.
    """
    if name in columns:
        return name
    found = [column for column in columns if _plain(column) == _plain(name)]
    if len(found) != 1:
        what = "no column" if not found else "more than one column"
        raise UserError(f"{where}: {what} {name!r}{suggestion(name, columns)}")
    return found[0]


def canonical(text: str) -> str:
    """A text as it is compared: `3.000000` as `3`; without a point, `0012` stays `0012`."""
    text = text.strip()
    if "." in text or "e-" in text.lower() or "e+" in text.lower():
        try:
            return repr(float(text)).removesuffix(".0")
        except ValueError:
            return text
    return text


def _keys(columns: Sequence[Sequence[str]], names: Sequence[str]) -> Iterable[tuple[str, ...]]:
    compared = []
    for column, name in zip(columns, names, strict=True):
        convert = _canonical_well if _plain(name).startswith("well") else canonical
        known = {text: convert(text) for text in dict.fromkeys(column)}
        compared.append([known[text] for text in column])
    return list(zip(*compared, strict=True))


def _canonical_well(text: str) -> str:
    try:
        return normalise_well(text)
    except ValueError:
        return canonical(text)


def _plain(name: str) -> str:
    return (metadata_name(name) or name).removeprefix(METADATA).casefold()


def _new_name(name: str) -> str:
    return metadata_name(name) or f"{METADATA}{name}"
