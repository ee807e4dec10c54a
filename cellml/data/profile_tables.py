"""Tables of profiles, one row a well or a site: CellProfiler's, pycytominer's, our own.

What is metadata and what is a feature is decided in `cellml.data.profile_columns`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from cellml.data import profile_conditions
from cellml.data.profile_joins import MetadataJoin, check_joins, join_all
from cellml.data.profile_reading import TableFile, open_table, read_pieces
from cellml.data.text_tables import suggestion
from cellml.errors import UserError

TABLE_BYTES = 4 << 30
"""Features of more than this are not read at once: such a table has a row a cell."""
JOINED = "@"
"""Stands between the names, and between the texts, of columns that are taken together."""


@dataclass(frozen=True)
class ProfileTable:
    """Profiles and what is known of them.

    Attributes:
      features: NaN is a missing number.
      names: Of the features.
      metadata: One row a profile, every column a text; a missing value is the empty text.
      notes: What was left out on reading, for people.
      taken: Which columns became features, in words.
    """

    features: Float[np.ndarray, "n f"]
    names: tuple[str, ...]
    metadata: pd.DataFrame
    notes: tuple[str, ...] = field(default=())
    taken: str = ""

    def column(self, name: str) -> np.ndarray:
        """A metadata column as an array of texts.

        Args:
          name: Of a column, or of several joined by `@`, whose texts are then joined by `@`; the
            empty text where all of them are empty.

        Raises:
          UserError: There is no such column; the message names the closest one.
        """
        if name in self.metadata.columns:
            return self.metadata[name].to_numpy(str)
        parts = name.split(JOINED)
        for part in parts:
            if part not in self.metadata.columns:
                raise UserError(f"no column {part!r}{suggestion(part, self.metadata.columns)}")
        lines = zip(*(self.metadata[part].tolist() for part in parts), strict=True)
        return np.array([JOINED.join(line) if any(line) else "" for line in lines], str)

    def with_column(self, name: str) -> "ProfileTable":
        """The table with joined columns under their joined name, so that a condition may name it.

        Raises:
          UserError: There is no such column.
        """
        if name in self.metadata.columns:
            return self
        return replace(self, metadata=self.metadata.assign(**{name: self.column(name)}))

    def where(self, expression: str) -> Bool[np.ndarray, " n"]:
        """Rows for which a condition on the metadata holds, as `Metadata_role == "control"`.

        Args:
          expression: See `cellml.data.profile_conditions`.

        Returns:
          A mask.

        Raises:
          UserError: The condition cannot be read, or names a column that is not there.
        """
        columns = {str(name): self.metadata[name].to_numpy(str) for name in self.metadata}
        try:
            return profile_conditions.where(expression, columns, len(self.metadata))
        except profile_conditions.ConditionError as error:
            raise UserError(f"condition {expression!r} cannot be read: {error}") from error

    def matching(self, expression: str) -> Bool[np.ndarray, " n"]:
        """Rows for which a condition holds, at least one; arguments as for `where`.

        Raises:
          UserError: As of `where`; or no row, with the values that its columns have.
        """
        found = self.where(expression)
        if not found.any():
            names = profile_conditions.columns_of(expression, list(self.metadata.columns))
            values = "; ".join(f"{name} is {self._values(name)}" for name in names)
            raise UserError(f"condition {expression!r}: no row matches; {values}")
        return found

    def take(self, rows: np.ndarray) -> "ProfileTable":
        """The profiles of some rows (indices or a mask)."""
        metadata = self.metadata.loc[rows] if rows.dtype == bool else self.metadata.iloc[rows]
        return replace(self, features=self.features[rows], metadata=metadata.reset_index(drop=True))

    def _values(self, name: str) -> str:
        """The most frequent values of a column, with their numbers."""
        counts = self.metadata[name].value_counts()
        shown = [f"{str(value)!r} ({count})" for value, count in counts.head(5).items()]
        return ", ".join(shown) + (f" and {len(counts) - 5} others" if len(counts) > 5 else "")


def read_profiles(
    paths: Sequence[str | Path],
    *,
    features_regex: str | None = None,
    joins: Sequence[MetadataJoin] = (),
) -> ProfileTable:
    """Reads tables and puts them below each other, with the features that all of them have.

    Args:
      paths: CSV or TSV files (also gzipped) or Parquet files.
      features_regex: Features are the columns in which this is found; see
        `cellml.data.profile_columns` for what is taken without it.
      joins: Tables of metadata to add, one after the other.

    Returns:
      The table. A value that is missing or infinite is NaN; features without any number are left
      out, with a note.

    Raises:
      UserError: A file cannot be read, or there is no feature or no row left; the message names
        the file.
    """
    tables, shared, notes = open_tables(paths, features_regex=features_regex)
    if (size := sum(table.n_bytes for table in tables)) > TABLE_BYTES:
        raise UserError(
            f"{tables[0].path}: {len(shared)} features of so many rows take about "
            f"{size / 2**30:.0f} GB; make wells of them first, which needs little memory: "
            "cellml profile aggregate --table FILE --out DIR"
        )
    pieces = [piece for table in tables for piece in read_pieces(table, shared)]
    metadata = pd.concat([piece.metadata for piece in pieces], ignore_index=True)
    metadata = metadata.fillna("").astype(str)
    values = np.concatenate([piece.features for piece in pieces])
    if infinite := sum(piece.n_infinite for piece in pieces):
        notes.append(f"{infinite} infinite values count as missing")
    there = np.asarray((~np.isnan(values)).any(axis=0))
    if not there.any():
        raise UserError(f"{tables[0].path}: no feature has a number")
    if not there.all():
        first = shared[int(np.argmin(there))]
        notes.append(
            f"{int((~there).sum())} features have no number and were left out (the first: {first})"
        )
    metadata, counts = join_all(metadata, joins)
    notes += check_joins(joins, counts, len(metadata))
    names = tuple(name for name, good in zip(shared, there, strict=True) if good)
    values = values if there.all() else values[:, there]
    return ProfileTable(values, names, metadata, tuple(notes), tables[0].columns.taken)


def open_tables(
    paths: Sequence[str | Path], *, features_regex: str | None = None
) -> tuple[list[TableFile], list[str], list[str]]:
    """Opens tables that belong together.

    Args:
      paths: CSV, TSV or Parquet.
      features_regex: As in `read_profiles`.

    Returns:
      The tables, the features that all of them have, and notes for people.

    Raises:
      UserError: As of `read_profiles`.
    """
    if not paths:
        raise UserError("no table of profiles given")
    known: set[Path] = set()
    for path in paths:
        if (whole := Path(path).resolve()) in known:
            raise UserError(f"{path}: given twice, its rows would count twice")
        known.add(whole)
    tables = [open_table(path, features_regex=features_regex) for path in paths]
    others = [set(table.columns.features) for table in tables]
    shared = [n for n in tables[0].columns.features if all(n in other for other in others)]
    if not shared:
        raise UserError(f"{paths[0]} and {paths[-1]} have no feature in common")
    notes = list(dict.fromkeys(note for table in tables for note in table.columns.notes))
    if dropped := len(set().union(*others)) - len(shared):
        notes.append(f"{dropped} features are not in every table and were left out")
    return tables, shared, notes
