"""Training, validation and test parts of a table of compounds, as a config describes them."""

from pathlib import Path

import numpy as np
from jaxtyping import Int
from ml_collections import ConfigDict

from cellml.data.assay_tables import AssayTable
from cellml.data.scaffolds import murcko_scaffolds
from cellml.data.split_files import CompoundSplit, read_splits
from cellml.errors import UsageError
from cellml.screening.splits import (
    TEST,
    TRAINING,
    VALIDATION,
    balanced_parts,
    codes_of,
    random_parts,
)

SCHEMES = ("scaffold_balanced", "random", "column", "file", "none")
INNER_SCHEMES, INNER_FRACTIONS = ("scaffold_balanced", "random"), (0.8, 0.1, 0.1)


def make_parts(
    config: ConfigDict,
    table: AssayTable,
    given: Int[np.ndarray, " n"] | None = None,
    *,
    workers: int = 1,
) -> Int[np.ndarray, " n"]:
    """Puts each compound into a part.

    Args:
      config: As of `given_parts`. A column or file without validation: it is taken from the
        training part by scaffolds, as large a share as `fractions` says. With "none" every
        compound trains and validates nothing.
      table: The compounds.
      given: From `given_parts`, if that is known already.
      workers: Processes for scaffolds.

    Returns:
      0 training, 1 validation, 2 test, -1 for a compound that a file leaves out.

    Raises:
      UsageError: Unknown scheme, or a part is empty that must not be.
    """
    scheme, seed = config.scheme, config.seed
    parts = given_parts(config, table, workers=workers) if given is None else given.copy()
    if scheme == "none":
        return parts
    if scheme in ("column", "file") and not (parts == VALIDATION).any():
        rest = np.flatnonzero(parts == TRAINING)
        train, middle, _ = (float(share) for share in config.fractions)
        share = middle / (train + middle)
        smiles = tuple(table.smiles[i] for i in rest)
        parts[rest] = _by_scaffold(smiles, (1 - share, share, 0.0), seed, workers)
        parts[rest[parts[rest] == TEST]] = TRAINING
    for part, name in ((TRAINING, "training"), (VALIDATION, "validation")):
        if not (parts == part).any():
            raise UsageError(f"{table.path}: the split {scheme!r} leaves no compound for {name}")
    return parts


def inner_parts(
    config: ConfigDict,
    table: AssayTable,
    outer: Int[np.ndarray, " n"],
    *,
    scheme: str = "scaffold_balanced",
    seed: int = 0,
    workers: int = 1,
) -> Int[np.ndarray, " n"]:
    """Splits again what a split does not hold out, .8/.1/.1, to choose settings by.

    Args:
      config: Of the split, as of `make_parts`.
      table: The compounds.
      outer: Their parts, from `given_parts`.
      scheme: "scaffold_balanced" or "random", of the split within.
      seed: Of the split within.
      workers: Processes for scaffolds.

    Returns:
      As of `make_parts`; -1 for the compounds that the split tests or leaves out.

    Raises:
      UsageError: As from `make_parts`, or another scheme.
    """
    if scheme not in INNER_SCHEMES:
        raise UsageError(f"--inner-split {scheme}: {' or '.join(INNER_SCHEMES)} expected")
    mine = np.flatnonzero((outer == TRAINING) | (outer == VALIDATION))
    within = ConfigDict({**config.to_dict(), "scheme": scheme, "seed": seed})
    within.fractions = INNER_FRACTIONS
    parts = np.full(len(outer), -1)
    parts[mine] = make_parts(within, table.take(mine), workers=workers)
    if not (parts == TEST).any():
        raise UsageError(
            f"{table.path}: too few compounds to choose settings by, {len(mine)} found"
        )
    return parts


def given_parts(
    config: ConfigDict, table: AssayTable, *, workers: int = 1
) -> Int[np.ndarray, " n"]:
    """What the scheme says, before anything is taken for validation.

    Args:
      config: `scheme`, one of `SCHEMES`; `fractions` and `seed` of the first two; `column` with
        the values for `test` and `validation`; `file` in Chemprop's JSON and `number` of the split
        in it.
      table: The compounds.
      workers: Processes for scaffolds.

    Returns:
      As of `make_parts`.

    Raises:
      UsageError: Unknown scheme, column or split.
    """
    n = len(table.smiles)
    scheme, seed = config.scheme, config.seed
    train, middle, last = (float(share) for share in config.fractions)
    fractions = (train, middle, last)
    column, test, validation = config.column, list(config.test), list(config.validation)
    file, number = config.file, config.number
    if scheme == "none":
        return np.full(n, TRAINING)
    if scheme == "random":
        return random_parts(n, fractions=fractions, seed=seed)
    if scheme == "scaffold_balanced":
        return _by_scaffold(table.smiles, fractions, seed, workers)
    if scheme == "column":
        return _by_column(table, column, test, validation)
    if scheme == "file":
        return _from_file(Path(file), number, n)
    raise UsageError(f"data.split.scheme: unknown {scheme!r}; known: {', '.join(SCHEMES)}")


def _by_scaffold(
    smiles: tuple[str, ...], fractions: tuple[float, float, float], seed: int, workers: int
) -> Int[np.ndarray, " n"]:
    train, validation, test = fractions
    scaffolds = codes_of(murcko_scaffolds(smiles, workers=workers))
    # Room for the test part, if only rounding is left of it, makes no sense of "larger than half".
    if test:
        return balanced_parts(scaffolds, fractions=(train, validation, test), seed=seed)
    parts = balanced_parts(scaffolds, fractions=(train, validation / 2, validation / 2), seed=seed)
    return np.where(parts == TEST, VALIDATION, parts)


def _by_column(
    table: AssayTable, column: str, test: list[str], validation: list[str]
) -> Int[np.ndarray, " n"]:
    values = [text.strip() for text in table.column(column)]
    for value in (*test, *validation):
        if value not in values:
            known = sorted(set(values))
            raise UsageError(f"{table.path}, column {column!r}: no {value!r} among {known[:10]}")
    parts = np.full(len(values), TRAINING)
    parts[np.isin(values, validation)] = VALIDATION
    parts[np.isin(values, test)] = TEST
    return parts


def _from_file(path: Path, number: int, n: int) -> Int[np.ndarray, " n"]:
    splits = read_splits(path, n)
    if not 0 <= number < len(splits):
        raise UsageError(f"{path}: holds {len(splits)} splits, number {number} is asked for")
    return parts_of_split(splits[number], n)


def parts_of_split(split: CompoundSplit, n: int) -> Int[np.ndarray, " n"]:
    """Part of each of n compounds, -1 for those that the split leaves out."""
    parts = np.full(n, -1)
    for part, rows in enumerate(split):
        parts[rows] = part
    return parts
