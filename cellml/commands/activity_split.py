"""`cellml activity split`: folds or parts of compounds, and what leaks between them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Int
from rich.console import Console

from cellml.commands.activity_inputs import FOLD, PARTS, CompoundSource, read_folds, texts_of
from cellml.commands.activity_leakage import LEAKAGE, leakage_facts, leakage_table
from cellml.commands.long_work import count, say, showing
from cellml.data.assay_tables import AssayTable
from cellml.data.compound_features import read_features
from cellml.data.fingerprints import structure_fingerprints
from cellml.data.molecules import Rejected, require_all, write_rejected
from cellml.data.scaffolds import inchikey_skeletons, murcko_scaffolds
from cellml.data.split_files import split_of_parts, splits_of_folds, write_splits
from cellml.data.text_tables import line_of, write_csv
from cellml.data.writers import write_json
from cellml.errors import UsageError, UserError
from cellml.screening.leakage import LeakageReport, leakage_report
from cellml.screening.splits import (
    balanced_parts,
    clustered_folds,
    codes_of,
    grouped_folds,
    joined_groups,
    keep_together,
    random_folds,
    random_parts,
)

KINDS = ("scaffold", "scaffold_balanced", "random", "kmeans", "column", "file")
TABLE, SPLITS, REJECTED = "split.csv", "splits.json", "rejected.csv"


@dataclass(frozen=True)
class SplitOptions:
    """What the user asked for.

    Attributes:
      source: Compounds and assays.
      out: Folder to write into.
      split: One of `KINDS`.
      folds: Number of folds; None for 5, or for parts where `fractions` are given.
      fractions: Training, validation and test parts instead of folds.
      column: Of folds or parts, for `column`; also left out of the assays.
      splits_file: In Chemprop's layout, for `file`.
      features: Profiles, for `kmeans`.
      identity_safe: Keep compounds with one InChIKey skeleton on one side.
      seed: Of whatever is random.
      similarity: Whether the leakage report compares fingerprints.
      strict: Stop where a SMILES cannot be read.
      workers: Processes.
    """

    source: CompoundSource
    out: Path
    split: str = "scaffold"
    folds: int | None = None
    fractions: tuple[float, float, float] | None = None
    column: str | None = None
    splits_file: Path | None = None
    features: Path | None = None
    identity_safe: bool = False
    seed: int = 0
    similarity: bool = True
    strict: bool = False
    workers: int = 1


@dataclass(frozen=True)
class SplitFound:
    """A split.

    Attributes:
      side: Fold or part of each compound, -1 for none.
      names: Of the folds or parts.
      is_parts: Whether these are training, validation and test.
    """

    side: Int[np.ndarray, " n"]
    names: tuple[str, ...]
    is_parts: bool


@dataclass(frozen=True)
class SplitMade:
    """A split of a table that is not yet written.

    Attributes:
      table: The table.
      side: Fold or part of each of its rows, -1 for none.
      names: Of the folds or parts.
      is_parts: Whether these are training, validation and test.
      rejected: Rows that cannot be read; they are on no side.
      report: What leaks.
    """

    table: AssayTable
    side: Int[np.ndarray, " n"]
    names: tuple[str, ...]
    is_parts: bool
    rejected: list[Rejected]
    report: LeakageReport

    @property
    def texts(self) -> list[str]:
        """Name of each row's fold or part, empty for none."""
        return np.array([*self.names, ""], dtype=object)[self.side].tolist()


def run(options: SplitOptions, console: Console) -> dict[str, Any]:
    """Writes split.csv, splits.json, leakage.json and rejected.csv.

    Args:
      options: See `SplitOptions`.
      console: Where to print.

    Returns:
      What is written to leakage.json.

    Raises:
      UserError: The table, the features or an option cannot be used.
    """
    return write(options, make(options, console), console)


def make(options: SplitOptions, console: Console) -> SplitMade:
    """Splits a table, and writes nothing; arguments and errors as of `run`."""
    _check(options)
    table = options.source.read(besides=[options.column] if options.column else [])
    if options.split != "column" and FOLD in (*table.others.column_names, *table.names):
        raise UsageError(
            f"{table.path} has a column {FOLD!r} already: rename it, or give --split column"
        )
    with showing("fingerprints", console) as progress:
        prints = structure_fingerprints(table.smiles, workers=options.workers, progress=progress)
    if options.strict or not len(prints.rows):
        require_all(prints.rejected, str(table.path))
    usable = table.take(prints.rows)
    skeletons = codes_of(inchikey_skeletons(usable.smiles, workers=options.workers))
    scaffolds = codes_of(murcko_scaffolds(usable.smiles, workers=options.workers))
    profiles = _profiles(options, table, prints.rows)
    try:
        found = _split(options, table, prints.rows, scaffolds, skeletons, profiles)
    except ValueError as error:
        raise UsageError(f"--split {options.split}: {error}") from error
    if profiles is not None and (none := int(np.isnan(profiles).all(1).sum())):
        say(console, f"{count(none, 'compound')} without a profile went to the smallest folds")
    binary = [kind in ("binary", "empty") for kind in usable.kinds()]
    report = leakage_report(
        found.side,
        {"skeleton": skeletons, "scaffold": scaffolds, "smiles": codes_of(usable.smiles)},
        labels=usable.labels[:, binary],
        fingerprints=prints.values if options.similarity else None,
    )
    side = np.full(len(table.smiles), -1)  # a row for each of the table, rejected ones in no fold
    side[prints.rows] = found.side
    return SplitMade(table, side, found.names, found.is_parts, prints.rejected, report)


def write(options: SplitOptions, made: SplitMade, console: Console) -> dict[str, Any]:
    """Writes the files of `run`.

    Args:
      options: See `SplitOptions`.
      made: From `make`.
      console: Where to print.

    Returns:
      What is written to leakage.json.
    """
    facts = {"split": _settings(options), **leakage_facts(made.report, made.names)}
    _write_table(options, made)
    splits = [split_of_parts(made.side)] if made.is_parts else splits_of_folds(made.side)
    write_splits(options.out / SPLITS, splits)
    write_rejected(options.out / REJECTED, made.rejected)
    write_json(options.out / LEAKAGE, facts)
    console.print(leakage_table(made.report, made.names), soft_wrap=True, markup=False)
    if made.rejected:
        say(console, f"{count(len(made.rejected), 'row')} in no fold: {options.out / REJECTED}")
    say(
        console,
        f"wrote {options.out / TABLE} and {options.out / SPLITS}: rows of {made.table.path}",
    )
    return facts


def _check(options: SplitOptions) -> None:
    kind = options.split
    if kind not in KINDS:
        raise UsageError(f"--split {kind}: one of {', '.join(KINDS)} expected")
    if options.fractions and options.folds:
        raise UsageError("--folds and --fractions exclude each other")
    if options.fractions and kind not in ("scaffold_balanced", "random"):
        raise UsageError(f"--split {kind} makes folds: --fractions go with random ones")
    if kind == "scaffold_balanced" and options.folds:
        raise UsageError("--split scaffold_balanced makes parts: --folds go with scaffold")
    for name, value, needed in (
        ("column", options.column, "column"),
        ("splits-file", options.splits_file, "file"),
        ("features", options.features, "kmeans"),
    ):
        if (kind == needed) != (value is not None):
            raise UsageError(f"--{name} and --split {needed} go together")


def _settings(options: SplitOptions) -> dict[str, Any]:
    return {
        "data": str(options.source.path),
        "kind": options.split,
        "folds": options.folds,
        "fractions": options.fractions,
        "column": options.column,
        "splits_file": str(options.splits_file) if options.splits_file else None,
        "features": str(options.features) if options.features else None,
        "identity_safe": options.identity_safe,
        "seed": options.seed,
    }


def _profiles(options: SplitOptions, table: AssayTable, rows: np.ndarray) -> np.ndarray | None:
    if options.features is None:
        return None
    features = read_features(options.features, table.smiles)
    values = features.values[rows]
    partly = np.isnan(values).any(1) & ~np.isnan(values).all(1)
    if partly.any():
        row = int(np.argmax(partly))
        name = features.names[int(np.argmax(np.isnan(values[row])))]
        raise UserError(
            f"{options.features}: {table.smiles[int(rows[row])]!r} ({table.path}, line "
            f"{line_of(int(rows[row]))}) has no number for {name!r} but for others, and "
            f"{int(partly.sum())} such in all; complete profiles expected, or none"
        )
    return values


def _split(
    options: SplitOptions,
    table: AssayTable,
    rows: np.ndarray,
    scaffolds: np.ndarray,
    skeletons: np.ndarray,
    profiles: np.ndarray | None,
) -> SplitFound:
    """Sides of some rows of the table, whose scaffolds, skeletons and profiles these are."""
    k, seed, n = options.folds or 5, options.seed, len(rows)
    safe = options.identity_safe
    numbers = tuple(map(str, range(k)))
    if options.split in ("column", "file"):
        given = read_folds(table, column=options.column, splits_file=options.splits_file)
        assert given is not None
        side = given.fold[rows]
        side = keep_together(side, skeletons) if safe else side
        return SplitFound(side, given.names, given.names == PARTS)
    if options.split == "scaffold_balanced":
        groups = joined_groups(scaffolds, skeletons) if safe else scaffolds
        fractions = options.fractions or (0.8, 0.1, 0.1)
        return SplitFound(balanced_parts(groups, fractions=fractions, seed=seed), PARTS, True)
    if options.split == "scaffold":
        groups = joined_groups(scaffolds, skeletons) if safe else scaffolds
        return SplitFound(grouped_folds(groups, n_folds=k), numbers, False)
    if options.split == "random":
        groups = skeletons if safe else None
        if options.fractions:
            parts = random_parts(n, fractions=options.fractions, seed=seed, groups=groups)
            return SplitFound(parts, PARTS, True)
        return SplitFound(random_folds(n, n_folds=k, seed=seed, groups=groups), numbers, False)
    assert profiles is not None
    side = _by_profiles(profiles, k, seed)
    return SplitFound(keep_together(side, skeletons) if safe else side, numbers, False)


def _by_profiles(profiles: np.ndarray, k: int, seed: int) -> np.ndarray:
    """k-means of those that have a profile; the others fill the smallest folds in random order."""
    known = ~np.isnan(profiles).any(1)
    values = profiles[known].astype(np.float64)
    spread = values.std(0)
    values = (values - values.mean(0)) / np.where(spread > 0, spread, 1)
    side = np.full(len(profiles), -1, np.int64)
    side[known] = clustered_folds(values, n_folds=k, seed=seed)
    sizes = np.bincount(side[known], minlength=k)
    for row in np.random.default_rng(seed).permutation(np.flatnonzero(~known)).tolist():
        side[row] = int(sizes.argmin())
        sizes[side[row]] += 1
    return side


def _write_table(options: SplitOptions, made: SplitMade) -> None:
    table = made.table
    column = options.column if options.split == "column" and options.column else FOLD
    columns = {options.source.smiles_name: pa.array(list(table.smiles), pa.string())}
    for name in table.others.column_names:
        columns[name] = table.others[name]
    columns[column] = pa.array(made.texts, pa.string())
    for name, values in zip(table.names, table.labels.T, strict=True):
        columns[name] = pa.array(texts_of(values), pa.string())
    write_csv(options.out / TABLE, pa.table(columns))
