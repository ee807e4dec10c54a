"""Splits in Chemprop's files, of rows of the table as it stands, unreadable molecules included.

Chemprop 2 writes JSON: a list of {train, val, test}, each rows as [0, 1, 4] or "0-1,4". Chemprop 1
pickles lists of rows: `split_indices.pckl` three of them, `--crossval_index_file` a list of such.
"""

import io
import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int, Integer

from cellml.data.writers import atomic
from cellml.errors import UserError

PARTS = ("train", "val", "test")


class CompoundSplit(NamedTuple):
    """Rows of a table, from 0, on each side; sides share no row."""

    train: Int[np.ndarray, " a"]
    val: Int[np.ndarray, " b"]
    test: Int[np.ndarray, " c"]


def splits_of_folds(folds: Integer[np.ndarray, " n"]) -> list[CompoundSplit]:
    """One split a fold, which it tests; the next fold validates, if there are three or more.

    Args:
      folds: Fold of each compound; -1 is in none.

    Returns:
      As many splits as folds.
    """
    k = int(folds.max(initial=-1)) + 1
    splits = []
    for test in range(k):
        val = (test + 1) % k if k > 2 else k
        rest = (folds >= 0) & (folds != test) & (folds != val)
        sides = (np.flatnonzero(side) for side in (rest, folds == val, folds == test))
        splits.append(CompoundSplit(*sides))
    return splits


def split_of_parts(parts: Integer[np.ndarray, " n"]) -> CompoundSplit:
    """Parts 0, 1, 2 as training, validation and test."""
    return CompoundSplit(*(np.flatnonzero(parts == side) for side in range(3)))


def write_splits(path: Path, splits: Sequence[CompoundSplit]) -> None:
    """Writes the file that `chemprop train --splits-file` reads; one line a split."""
    lines = [
        json.dumps({name: getattr(split, name).tolist() for name in PARTS}) for split in splits
    ]
    with atomic(path) as temporary:
        temporary.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")


def read_splits(path: Path, n_rows: int) -> list[CompoundSplit]:
    """Reads such a file.

    Args:
      path: JSON, or a pickle (`.pkl`, `.pckl`, `.pickle`) of plain lists, read without running code
        from it. Rows count from 0 at the first line below the header; those whose SMILES cannot be
        read count too.
      n_rows: Rows of the table that is split.

    Returns:
      The splits.

    Raises:
      UserError: No such file, another layout, or rows that are not there or on two sides.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    if path.suffix in PICKLES:
        found = _unpickled(path, content)
    else:
        try:
            found = json.loads(content)
        except ValueError as error:
            raise UserError(f"{path}: no JSON ({error})") from error
    entries = _entries(found)
    if not entries:
        raise UserError(
            f"{path}: expected a list of {{train, val, test}}, one a split, or three lists of rows"
        )
    return [_split(entry, f"{path}, split {i}", n_rows) for i, entry in enumerate(entries)]


PICKLES = (".pkl", ".pckl", ".pickle")


class _PlainUnpickler(pickle.Unpickler):
    """Knows lists, texts and numbers alone."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        """Refuses whatever a pickle names."""
        raise pickle.UnpicklingError(f"{module_name}.{global_name} is refused")


def _unpickled(path: Path, content: bytes) -> Any:
    try:
        return _PlainUnpickler(io.BytesIO(content)).load()
    except Exception as error:  # a broken pickle raises anything at all
        raise UserError(
            f"{path}: no pickle of plain lists of rows ({error}); write the splits as JSON"
        ) from error


def _entries(found: Any) -> list[dict[str, Any]]:
    """One dictionary a split; none where the layout is another one."""
    if isinstance(found, dict):
        return [found]
    if not isinstance(found, list | tuple) or not found:
        return []
    if _is_three_lists(found):
        return [dict(zip(PARTS, found, strict=True))]
    if all(isinstance(entry, dict) for entry in found):
        return list(found)
    if all(_is_three_lists(entry) for entry in found):
        return [dict(zip(PARTS, entry, strict=True)) for entry in found]
    return []


def _is_three_lists(value: Any) -> bool:
    """Whether these are train, val and test as lists of rows; an empty one may be None."""
    if not isinstance(value, list | tuple) or len(value) != len(PARTS) or not value[0]:
        return False
    return all(
        side is None
        or (isinstance(side, list | tuple) and all(isinstance(row, int) for row in side))
        for side in value
    )


def _split(entry: dict[str, Any], where: str, n_rows: int) -> CompoundSplit:
    if "test" not in entry or "train" not in entry:
        raise UserError(f"{where}: found {sorted(entry)}, expected train, val and test")
    sides = CompoundSplit(*(_rows(entry.get(name) or [], f"{where}, {name}") for name in PARTS))
    rows = np.concatenate(sides)
    if rows.size and not 0 <= rows.min() <= rows.max() < n_rows:
        worst = rows.max() if rows.max() >= n_rows else rows.min()
        raise UserError(f"{where}: row {worst} found, rows 0 to {n_rows - 1} expected")
    values, counts = np.unique(rows, return_counts=True)
    if (counts > 1).any():
        raise UserError(f"{where}: row {values[np.argmax(counts > 1)]} is there twice")
    return sides


def _rows(value: Any, where: str) -> np.ndarray:
    """A list of rows, or text as "0-2,4" with the last one included."""
    try:
        if isinstance(value, str):
            rows: list[int] = []
            for piece in value.split(","):
                first, _, last = piece.partition("-")
                rows.extend(range(int(first), int(last or first) + 1))
            return np.array(rows, np.int64)
        if any(isinstance(row, bool) or not isinstance(row, int) for row in value):
            raise ValueError(f"found {value[:3]}")
        return np.array(value, np.int64)
    except (ValueError, TypeError) as error:
        raise UserError(f"{where}: rows as [0, 1, 4] or '0-1,4' expected ({error})") from error
