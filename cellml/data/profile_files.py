"""Profiles as Parquet: texts `Metadata_...`, the number of cells, then a float32 column a feature.

`cellml.data.profile_tables.read_profiles` and pycytominer read them.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float, Integer

from cellml.data.profile_columns import METADATA
from cellml.data.writers import atomic

COUNT = "Metadata_n_cells"


class ProfileRows(NamedTuple):
    """Profiles with what is known of them.

    Attributes:
      metadata: Columns of texts, the keys first; missing is the empty text.
      n_cells: Cells behind each profile.
      values: NaN is a missing number.
    """

    metadata: Mapping[str, Sequence[str]]
    n_cells: Integer[np.ndarray, " n"]
    values: Float[np.ndarray, "n f"]


def profile_schema(columns: Sequence[str], names: Sequence[str], facts: Any = None) -> pa.Schema:
    """Columns of a file of profiles.

    Args:
      columns: Of the metadata, without the number of cells.
      names: Of the features.
      facts: JSON-able, kept with the schema.

    Returns:
      Names and types.
    """
    texts = [(name, pa.string()) for name in columns]
    numbers = [(name, pa.float32()) for name in names]
    kept = None if facts is None else {"cellml": json.dumps(facts, sort_keys=True)}
    return pa.schema([*texts, (COUNT, pa.int32()), *numbers], kept)


def profile_table(rows: ProfileRows, schema: pa.Schema) -> pa.Table:
    """Lays profiles out by a schema of `profile_schema`; metadata that it lacks are left out."""
    texts = [name for name in schema.names if name.startswith(METADATA) and name != COUNT]
    n = len(rows.n_cells)
    columns = [pa.array(list(rows.metadata.get(name, [""] * n)), pa.string()) for name in texts]
    columns.append(pa.array(rows.n_cells.astype(np.int32)))
    values = np.ascontiguousarray(rows.values.T, np.float32)
    return pa.Table.from_arrays([*columns, *map(pa.array, values)], schema=schema)


def write_profiles(path: Path, rows: ProfileRows, names: Sequence[str], facts: Any = None) -> None:
    """Writes a file, whole or not at all.

    Args:
      path: A `.parquet` file.
      rows: Profiles.
      names: Of the features.
      facts: JSON-able, kept with the schema.
    """
    table = profile_table(rows, profile_schema(list(rows.metadata), names, facts))
    with atomic(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_profile_rows(path: Path) -> tuple[ProfileRows, tuple[str, ...]]:
    """Reads what `write_profiles` wrote: the profiles, and the names of their features."""
    table = pq.read_table(path)
    texts = [name for name in table.column_names if name.startswith(METADATA) and name != COUNT]
    names = tuple(name for name in table.column_names if not name.startswith(METADATA))
    values = np.empty((len(table), len(names)), np.float32)
    for i, name in enumerate(names):
        values[:, i] = table[name].to_numpy()
    metadata = {name: table[name].to_pylist() for name in texts}
    return ProfileRows(metadata, table[COUNT].to_numpy(), values), names


def read_profile_facts(path: Path) -> Any:
    """Returns the facts kept with the schema; None where there are none, or no such file."""
    try:
        return json.loads((pq.read_schema(path).metadata or {})[b"cellml"])
    except (OSError, pa.ArrowInvalid, KeyError, ValueError):
        return None
