"""Tables of profiles, one row a well, a site or a cell: CellProfiler's, pycytominer's, our own.

Columns named `Metadata_...` are texts (a plate `0012` stays `0012`), the others are features.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from cellml.data.text_tables import suggestion
from cellml.errors import UserError

METADATA = "Metadata_"


@dataclass(frozen=True)
class ProfileTable:
    """Profiles and what is known of them.

    Attributes:
      features: Finite.
      names: Of the features.
      metadata: One row a profile, every column a text; a missing value is the empty text.
      notes: What was left out on reading, for people.
    """

    features: Float[np.ndarray, "n f"]
    names: tuple[str, ...]
    metadata: pd.DataFrame
    notes: tuple[str, ...] = field(default=())

    def column(self, name: str) -> np.ndarray:
        """A metadata column as an array of texts.

        Raises:
          UserError: There is no such column; the message names the closest one.
        """
        if name not in self.metadata.columns:
            raise UserError(f"no column {name!r}{suggestion(name, self.metadata.columns)}")
        return self.metadata[name].to_numpy(str)

    def where(self, expression: str) -> Bool[np.ndarray, " n"]:
        """Rows for which a condition on the metadata holds, as `Metadata_role == "control"`.

        Args:
          expression: Comparisons of columns with texts, joined by `and`, `or`, `not`.

        Returns:
          A mask.

        Raises:
          UserError: The condition cannot be read, or names a column that is not there.
        """
        if "@" in expression or "__" in expression:
            raise UserError(f"condition {expression!r}: comparisons of columns only")
        try:
            found = self.metadata.eval(expression, engine="python")
        except Exception as error:  # pandas raises whatever its parser met
            reason = (str(error).splitlines() or [""])[0]
            raise UserError(
                f"condition {expression!r} cannot be read ({reason}); columns: "
                f"{', '.join(self.metadata.columns)}"
            ) from error
        mask = np.asarray(found)
        if mask.dtype != bool or mask.shape != (len(self.metadata),):
            raise UserError(f"condition {expression!r}: expected a comparison, such as a == 'b'")
        return mask

    def take(self, rows: np.ndarray) -> "ProfileTable":
        """The profiles of some rows (indices or a mask)."""
        metadata = self.metadata.loc[rows] if rows.dtype == bool else self.metadata.iloc[rows]
        return ProfileTable(
            self.features[rows], self.names, metadata.reset_index(drop=True), self.notes
        )


def read_profiles(
    paths: Sequence[str | Path], *, features_regex: str | None = None
) -> ProfileTable:
    """Reads tables and puts them below each other, with the features that all of them have.

    Args:
      paths: CSV or TSV files (also gzipped) or Parquet files.
      features_regex: Features are the columns in which this is found; None takes all numeric
        columns that are no metadata.

    Returns:
      The table. Features with a missing or infinite value are left out, with a note.

    Raises:
      UserError: A file cannot be read, or there is no feature or no row left; the message names
        the file.
    """
    if not paths:
        raise UserError("no table of profiles given")
    tables = [_read(Path(path)) for path in paths]
    features = [
        _feature_names(t, Path(p), features_regex) for t, p in zip(tables, paths, strict=True)
    ]
    shared = [name for name in features[0] if all(name in set(other) for other in features[1:])]
    notes = []
    if not shared:
        raise UserError(f"{paths[0]} and {paths[-1]} have no feature in common")
    if dropped := len({n for names in features for n in names}) - len(shared):
        notes.append(f"{dropped} features are not in every table and were left out")
    values = np.concatenate([t[shared].to_numpy(np.float64) for t in tables])
    finite = np.atleast_1d(np.isfinite(values).all(axis=0))
    if not finite.all():
        first = shared[int(np.argmin(finite))]
        notes.append(
            f"{int((~finite).sum())} features have missing or infinite values and were left out "
            f"(the first: {first})"
        )
    if not finite.any() or not len(values):
        raise UserError(f"{paths[0]}: no row or no feature with finite values")
    metadata = pd.concat(
        [t[[c for c in t.columns if c.startswith(METADATA)]] for t in tables], ignore_index=True
    )
    names = tuple(name for name, good in zip(shared, finite, strict=True) if good)
    return ProfileTable(values[:, finite], names, metadata.fillna("").astype(str), tuple(notes))


def _read(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        if path.suffix == ".parquet":
            table = pd.read_parquet(path)
        else:
            separator = "\t" if ".tsv" in path.suffixes or ".txt" in path.suffixes else ","
            header = pd.read_csv(path, sep=separator, nrows=0).columns
            texts = {name: str for name in header if name.startswith(METADATA)}
            # only empty fields are missing: a gene or a well may be called NA
            table = pd.read_csv(
                path,
                sep=separator,
                dtype=texts,
                keep_default_na=False,
                na_values=["", "nan", "NaN"],
            )
    except (ValueError, OSError, pd.errors.ParserError, UnicodeDecodeError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise UserError(f"{path}: not a readable table ({reason})") from error
    if not len(table):
        raise UserError(f"{path}: the table has no row")
    if not any(name.startswith(METADATA) for name in table.columns):
        raise UserError(
            f"{path}: no column starts with {METADATA}, found {list(table.columns)[:5]}"
        )
    return table


def _feature_names(table: pd.DataFrame, path: Path, regex: str | None) -> list[str]:
    try:
        pattern = re.compile(regex) if regex else None
    except re.error as error:
        raise UserError(f"--features-regex {regex!r}: {error}") from error
    names = [
        name
        for name in map(str, table.columns)
        if not name.startswith(METADATA)
        and (pattern.search(name) if pattern else pd.api.types.is_numeric_dtype(table[name]))
    ]
    if not names:
        raise UserError(
            f"{path}: no feature column" + (f" in which {regex!r} is found" if regex else "")
        )
    for name in names:
        if not pd.api.types.is_numeric_dtype(table[name]):
            raise UserError(
                f"{path}: feature {name!r} is not numeric, found {table[name].iloc[0]!r}"
            )
    return names
