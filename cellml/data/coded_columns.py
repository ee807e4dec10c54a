"""Texts that many cells share, as small numbers: plate, well, site, treatment of millions of cells.

A cell costs four bytes a column, whatever its texts are.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Int, Int32


@dataclass(frozen=True)
class Coded:
    """A column of n texts.

    Attributes:
      codes: For each cell its place in `names`; -1 where there is no text.
      names: Each text once, sorted. Some may not occur, as after `take`.
    """

    codes: Int32[np.ndarray, " n"]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.codes)

    def take(self, rows: Int[np.ndarray, " m"]) -> "Coded":
        """Some of the cells, in the order of `rows`, with the same names."""
        return Coded(self.codes[rows], self.names)

    def isin(self, texts: Iterable[str]) -> Bool[np.ndarray, " n"]:
        """Which cells have one of the texts."""
        wanted = set(texts)
        table = np.array([name in wanted for name in self.names] + [False])
        return table[self.codes]

    def occurring(self) -> tuple[str, ...]:
        """The names that occur, sorted."""
        used = np.unique(self.codes)
        return tuple(self.names[code] for code in used[used >= 0])


def code_texts(texts: Sequence[str | None]) -> Coded:
    """Codes a sequence of texts, None for no text."""
    return code_column(pa.chunked_array([pa.array(texts, pa.string())]))


def code_column(column: pa.ChunkedArray) -> Coded:
    """Codes a column of an Arrow table.

    Args:
      column: Strings, or strings as dictionaries, as in the index of a store.
    Returns:
      The column; no Python object is made for a cell.
    """
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    whole = column.unify_dictionaries().combine_chunks()
    chunks = [whole] if isinstance(whole, pa.Array) else whole.chunks
    if not chunks:
        return Coded(np.zeros(0, np.int32), ())
    texts = chunks[0].dictionary.to_pylist()
    names = sorted({text for text in texts if text is not None})
    place = {name: i for i, name in enumerate(names)}
    # the last entry is for cells without a text: code -1
    table = np.array([place.get(text, -1) for text in texts] + [-1], np.int32)
    codes = [np.asarray(chunk.indices.fill_null(-1).cast(pa.int32())) for chunk in chunks]
    return Coded(table[np.concatenate(codes)], tuple(names))
