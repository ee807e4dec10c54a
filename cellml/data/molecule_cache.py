"""A folder of molecules' codes, so that a second run need not parse them again.

Layout: `<folder>/rdkit-<version>-codes-<version>[-largest]/<hash>.parquet`, each file a table of
`CODES_SCHEMA`. Files are only ever added, each whole or not at all, named by what is in them:
several runs may share a folder, and a killed run keeps what it had finished. Another version of
RDKit, which may see another molecule in the same SMILES, reads none of it. Rejected SMILES are in
there too. To be rid of a cache delete its folder.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cellml.data.molecule_codes import CODES_SCHEMA, CODES_VERSION, RDKIT_VERSION
from cellml.data.writers import atomic


class MoleculeCache:
    """Codes by SMILES.

    Attributes:
      folder: Where the files of this version are.
    """

    def __init__(self, folder: Path, *, largest_fragment: bool = False) -> None:
        """Opens a cache; writes nothing.

        Args:
          folder: What the user named; need not exist.
          largest_fragment: How its molecules are parsed, see `parse_molecule`.
        """
        kind = "-largest" if largest_fragment else ""
        self.folder = folder / f"rdkit-{RDKIT_VERSION}-codes-{CODES_VERSION}{kind}"

    def read(self, smiles: pa.StringArray) -> pa.Table:
        """Finds what is known of these SMILES, which are all different.

        Files that cannot be read, of which there should be none, count as absent.

        Returns:
          Rows of `CODES_SCHEMA` in any order, each SMILES at most once.
        """
        found: list[pa.Table] = []
        missing: pa.Array = smiles
        for path in sorted(self.folder.glob("*.parquet")):
            if not len(missing):
                break
            try:
                keys = pq.read_table(path, columns=["smiles"])["smiles"].combine_chunks()
                places = pc.index_in(missing, value_set=keys)
                if places.null_count == len(places):
                    continue
                found.append(_columns(pq.read_table(path)).take(places.drop_null()))
            except (OSError, pa.ArrowException, KeyError):
                continue
            missing = missing.filter(pc.is_null(places))
        return pa.concat_tables([CODES_SCHEMA.empty_table(), *found])

    def write(self, table: pa.Table) -> None:
        """Adds a table of `CODES_SCHEMA`.

        Raises:
          UserError: The disk is full or the folder cannot be written.
        """
        name = hashlib.sha256("\n".join(table["smiles"].to_pylist()).encode()).hexdigest()[:24]
        with atomic(self.folder / f"{name}.parquet") as temporary:
            pq.write_table(table, temporary, compression="zstd", use_dictionary=False)


def in_order(table: pa.Table, smiles: Sequence[str]) -> pa.Table:
    """Puts rows of `CODES_SCHEMA` into the order of `smiles`, all of which have one.

    Args:
      table: Each SMILES once.
      smiles: May repeat.

    Returns:
      A table as long as `smiles`.
    """
    keys = table["smiles"].combine_chunks()
    places = pc.index_in(pa.array(smiles, pa.string()), value_set=keys)
    if np.array_equal(places.to_numpy(), np.arange(len(table))):
        return table
    return table.take(places)


def _columns(table: pa.Table) -> pa.Table:
    """The table with the columns of the schema only; raises KeyError where one is missing."""
    return table.select(CODES_SCHEMA.names).cast(CODES_SCHEMA)
