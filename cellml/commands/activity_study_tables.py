"""The table of a study: compounds, their fold and their assays, from files or simulated."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from rich.console import Console

from cellml.commands import activity_split
from cellml.commands.activity_inputs import FOLD, CompoundSource, read_folds, texts_of
from cellml.commands.activity_study import simulate
from cellml.commands.long_work import count, say
from cellml.data.assay_tables import AssayTable, read_smiles, require_binary
from cellml.data.scaffolds import inchikey_skeletons
from cellml.data.text_tables import line_of, read_text_table, suggestion, write_csv
from cellml.errors import UsageError, UserError
from cellml.experiment.activity_study import SIMULATED, Study, StudyFolds, StudyTable

PREPARED = "assays.csv"


class Prepared(NamedTuple):
    """What a table of the study is trained on.

    Attributes:
      source: SMILES, a column `fold` (empty: neither trained on nor tested) and the assays.
      features: File of each modality.
      types: Table of the assays' types, None if there is none.
    """

    source: CompoundSource
    features: dict[str, Path]
    types: Path | None


def prepare(study: Study, table: StudyTable, out: Path, console: Console) -> Prepared:
    """Writes the table with the fold of every compound.

    Args:
      study: See `Study`.
      table: One of its tables.
      out: Folder of the table.
      console: Where to print.

    Returns:
      See `Prepared`.

    Raises:
      UserError: A file cannot be read, or compounds have no fold or two.
    """
    path, types, features = table.path, table.types, dict(study.features)
    if study.simulate:
        design = dict(study.simulate)
        path, made, types = simulate(out / "screen", **design)
        kinds = {kind: made[name] for name, kind in (("MO", "morphology"), ("GE", "expression"))}
        used = {name for one in study.predictors for name in one.features}
        features = {name: kinds[SIMULATED[name[:2]]] for name in used}
    assert path is not None
    besides = [table.folds.column] if table.folds.column and not table.folds.table else []
    source = CompoundSource(path, table.smiles_column or None, table.targets, table.ignore)
    found = source.read(besides=besides)
    require_binary(found)
    if table.folds.split:
        return Prepared(_split(table.folds, source, out, study.workers), features, types)
    if table.folds.table:
        folds = _joined_folds(table.folds, found, study.workers, console)
    else:
        folds = [text.strip() for text in found.column(table.folds.column)]
    if FOLD in found.names:
        raise UsageError(f"{path}: an assay called {FOLD!r}; name the assays in targets, or rename")
    columns = {"smiles": pa.array(list(found.smiles), pa.string()), FOLD: pa.array(folds)}
    for name, values in zip(found.names, found.labels.T, strict=True):
        columns[name] = pa.array(texts_of(values), pa.string())
    write_csv(out / PREPARED, pa.table(columns))
    prepared = CompoundSource(out / PREPARED, "smiles", found.names)
    _check_folds(prepared, table)
    return Prepared(prepared, features, types)


def _split(folds: StudyFolds, source: CompoundSource, out: Path, workers: int) -> CompoundSource:
    """Folds made here, whose table `cellml activity split` writes."""
    split = activity_split.SplitOptions(
        source,
        out / "split",
        split=folds.split,
        folds=folds.number,
        similarity=False,
        workers=workers,
    )
    activity_split.run(split, Console(quiet=True))
    path = out / "split" / activity_split.TABLE
    return CompoundSource(path, source.smiles_name, source.targets, source.ignore)


def _check_folds(prepared: CompoundSource, table: StudyTable) -> None:
    found = read_folds(prepared.read(besides=[FOLD]), column=FOLD)
    assert found is not None
    if missing := [name for name in table.folds.holdout if name not in found.names]:
        raise UsageError(
            f"{table.path}: no fold {missing[0]!r} to hold out, found {', '.join(found.names)}"
        )


def _joined_folds(
    folds: StudyFolds, table: AssayTable, workers: int, console: Console
) -> list[str]:
    """Folds of another table's compounds with the same skeleton; empty where there is none."""
    other = folds.table
    assert other is not None
    there = read_text_table(other)
    if folds.column not in there.column_names:
        raise UserError(
            f"{other}: no column {folds.column!r}{suggestion(folds.column, there.column_names)}"
        )
    smiles = read_smiles(other, smiles_column=folds.smiles_column or None)
    fold_of: dict[str, str] = {}
    pairs = zip(inchikey_skeletons(smiles, workers=workers), there[folds.column].to_pylist(),
                strict=True)  # fmt: skip
    for row, (key, fold) in enumerate(pairs):
        if key is None or not fold.strip():
            continue
        if fold_of.setdefault(key, fold.strip()) != fold.strip():
            raise UserError(
                f"{other}, line {line_of(row)}: skeleton {key} of {smiles[row]!r} is in fold "
                f"{fold.strip()!r} here and in fold {fold_of[key]!r} above; one fold expected"
            )
    keys = inchikey_skeletons(table.smiles, workers=workers)
    found = [fold_of.get(key or "", "") for key in keys]
    missing = int(np.sum([not fold for fold in found]))
    if missing == len(found):
        raise UserError(f"{table.path}: no compound has the skeleton of one of {other}")
    if missing:
        say(console, f"{count(missing, 'compound')} of {table.path} not in {other}: left out")
    return found
