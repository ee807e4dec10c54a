"""Reads SMILES into the compact codes that models expand on the device.

Nothing is dropped silently: what cannot be read is listed with its row and the reason.
"""

import dataclasses
import functools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int8, Integer, Shaped

from cellml.data.molecule_cache import MoleculeCache, in_order
from cellml.data.molecule_chunks import Progress, over_chunks
from cellml.data.molecule_codes import BOND_RECORD, CODES_SCHEMA, featurise
from cellml.data.text_tables import line_of, write_csv
from cellml.errors import UserError
from cellml.ops.atom_codes import ATOM_COLUMNS

SAVED_EVERY = 20  # chunks: what a killed run loses at most


class Rejected(NamedTuple):
    """A row that holds no usable molecule.

    Attributes:
      row: Its place in what was given, from 0.
      smiles: The text.
      reason: Why, one line.
    """

    row: int
    smiles: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Molecules:
    """Graphs of m molecules as compact codes, one after the other.

    Attributes:
      rows: Place of each molecule in what was given, ascending as read.
      atoms: Int8[V 9], columns of `cellml.ops.atom_codes.ATOM_COLUMNS`.
      bonds: Int8[B 4], columns of `cellml.ops.atom_codes.BOND_COLUMNS`.
      ends: The two atoms of each bond, numbered from 0 within the molecule.
      atom_starts: Molecule i has the atoms from [i] to [i + 1].
      bond_starts: Likewise its bonds.
    """

    rows: Integer[np.ndarray, " m"]
    atoms: Int8[np.ndarray, "V 9"]
    bonds: Int8[np.ndarray, "B 4"]
    ends: Integer[np.ndarray, "B 2"]
    atom_starts: Integer[np.ndarray, " m1"]
    bond_starts: Integer[np.ndarray, " m1"]

    def __len__(self) -> int:
        """Number of molecules."""
        return len(self.rows)

    @property
    def atom_counts(self) -> Integer[np.ndarray, " m"]:
        """Number of (heavy) atoms of each molecule, at least 1."""
        return np.diff(self.atom_starts)

    @property
    def bond_counts(self) -> Integer[np.ndarray, " m"]:
        """Number of bonds of each molecule, may be 0."""
        return np.diff(self.bond_starts)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(getattr(self, field.name).nbytes for field in dataclasses.fields(self))

    def take(self, places: Integer[np.ndarray, " k"]) -> "Molecules":
        """Gives the molecules at these places (0 to m - 1), in this order; places may repeat."""
        atoms, atom_starts = _slices(self.atom_starts, places)
        bonds, bond_starts = _slices(self.bond_starts, places)
        return Molecules(
            rows=self.rows[places],
            atoms=self.atoms[atoms],
            bonds=self.bonds[bonds],
            ends=self.ends[bonds],
            atom_starts=atom_starts,
            bond_starts=bond_starts,
        )


class MoleculesRead(NamedTuple):
    """What `read_molecules` gives.

    Attributes:
      molecules: The usable ones, in order; `molecules.rows` says which rows they were.
      rejected: The others, in order.
    """

    molecules: Molecules
    rejected: list[Rejected]


def read_molecules(
    smiles: Sequence[str],
    *,
    cache: Path | None = None,
    largest_fragment: bool = False,
    workers: int = 1,
    progress: Progress | None = None,
) -> MoleculesRead:
    """Parses SMILES and codes their atoms and bonds, equal texts once.

    The codes serve every preset of `cellml.ops.molecule_features`. Salts and mixtures become one
    graph of several pieces, as in Chemprop, unless `largest_fragment` is given.

    Args:
      smiles: One text a row.
      cache: A folder to keep the codes in and to look them up, see
        `cellml.data.molecule_cache`; None for none.
      largest_fragment: See `parse_molecule`.
      workers: Processes.
      progress: Called with the number of molecules done and to do; those in the cache are not
        counted.

    Returns:
      The molecules and the rejected rows.

    Raises:
      UserError: The cache cannot be written.
      ValueError: `workers` is below 1.
    """
    unique = pc.unique(pa.array(smiles, pa.string()))
    store = MoleculeCache(cache, largest_fragment=largest_fragment) if cache else None
    known = store.read(unique) if store else CODES_SCHEMA.empty_table()
    missing = unique.filter(pc.invert(pc.is_in(unique, value_set=_column(known, "smiles"))))
    work = functools.partial(featurise, largest_fragment=largest_fragment)
    made: list[pa.Table] = []
    unsaved = 0
    for table in over_chunks(work, missing.to_pylist(), workers=workers, progress=progress):
        made.append(table)
        if store and len(made) - unsaved >= SAVED_EVERY:
            store.write(pa.concat_tables(made[unsaved:]))
            unsaved = len(made)
    if store and len(made) > unsaved:
        store.write(pa.concat_tables(made[unsaved:]))
    return _from_table(in_order(pa.concat_tables([known, *made]), smiles))


def require_all(rejected: Sequence[Rejected], source: str) -> None:
    """Raises a UserError that names the first of the rejected rows, if there is any.

    Args:
      rejected: As from `read_molecules`.
      source: Where the molecules came from, for the message.
    """
    if rejected:
        first = rejected[0]
        raise UserError(
            f"{source}, line {line_of(first.row)}: {first.smiles!r} is no molecule "
            f"({first.reason}); {len(rejected)} such in all"
        )


def write_rejected(path: Path, rejected: Iterable[Rejected]) -> None:
    """Writes `rejected.csv`: row (from 0), line of the text file, SMILES and reason.

    Args:
      path: File to write; without rejected rows it holds the header alone.
      rejected: As from `read_molecules`.
    """
    rejected = list(rejected)
    columns = {
        "row": pa.array([r.row for r in rejected], pa.int64()),
        "line": pa.array([line_of(r.row) for r in rejected], pa.int64()),
        "smiles": pa.array([r.smiles for r in rejected], pa.string()),
        "reason": pa.array([r.reason for r in rejected], pa.string()),
    }
    write_csv(path, pa.table(columns))


def _from_table(table: pa.Table) -> MoleculesRead:
    reasons = _column(table, "reason")
    bad = np.flatnonzero(reasons.is_valid().to_numpy(zero_copy_only=False))
    texts = table["smiles"].take(bad).to_pylist()
    rejected = [
        Rejected(int(row), text, reason)
        for row, text, reason in zip(bad, texts, reasons.take(bad).to_pylist(), strict=True)
    ]
    good = np.setdiff1d(np.arange(len(table)), bad)
    if len(bad):
        table = table.take(good)
    atoms, atom_starts = _records(_column(table, "atoms"), np.dtype(("i1", (len(ATOM_COLUMNS),))))
    bonds, bond_starts = _records(_column(table, "bonds"), BOND_RECORD)
    molecules = Molecules(
        rows=good,
        atoms=atoms,
        bonds=np.ascontiguousarray(bonds["codes"]),
        ends=np.ascontiguousarray(bonds["ends"]).astype(np.int16),
        atom_starts=atom_starts,
        bond_starts=bond_starts,
    )
    return MoleculesRead(molecules, rejected)


def _records(
    column: pa.LargeBinaryArray, dtype: np.dtype
) -> tuple[Shaped[np.ndarray, "n *d"], Integer[np.ndarray, " m1"]]:
    """The bytes of a column as one array of records, and where each row's begin."""
    _, offsets, data = column.buffers()
    starts = np.frombuffer(offsets, np.int64)[column.offset : column.offset + len(column) + 1]
    values = np.frombuffer(data or b"", np.uint8)[starts[0] : starts[-1]]
    return values.view(dtype.base).reshape(-1, *dtype.shape), (starts - starts[0]) // dtype.itemsize


def _column(table: pa.Table, name: str) -> pa.Array:
    column = table[name].combine_chunks()
    return column if isinstance(column, pa.Array) else pa.concat_arrays(column.chunks)


def _slices(
    starts: Integer[np.ndarray, " m1"], places: Integer[np.ndarray, " k"]
) -> tuple[Integer[np.ndarray, " n"], Integer[np.ndarray, " k1"]]:
    """Indices of the records of some molecules, and where each one's begin among them."""
    counts = (starts[1:] - starts[:-1])[places]
    new_starts = np.concatenate([[0], np.cumsum(counts)])
    shift = np.repeat(starts[:-1][places] - new_starts[:-1], counts)
    return np.arange(new_starts[-1]) + shift, new_starts
