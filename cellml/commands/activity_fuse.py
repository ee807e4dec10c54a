"""`cellml activity fuse`: joins predictions of several predictors, or the best of their scores."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int
from rich.console import Console

from cellml.commands.activity_held_out import PART, RUN, TESTS, VALIDATES
from cellml.commands.activity_inputs import FOLD, CompoundSource, column_names, named_files
from cellml.commands.long_work import count, say
from cellml.data.assay_tables import AssayTable, require_binary
from cellml.data.prediction_tables import (
    REASON,
    ROW,
    PredictionRows,
    align_predictions,
    read_prediction_rows,
    write_predictions,
)
from cellml.data.score_tables import read_score_tables
from cellml.data.text_tables import line_of, write_csv
from cellml.errors import UsageError, UserError
from cellml.metrics.assay_summary import count_above
from cellml.screening.fusion import RULES, Stacking, best_of, fit_stacking, fuse

STACKING, BEST_OF = "stacking", "best_of"
ALL_RULES = (*RULES, STACKING, BEST_OF)


@dataclass(frozen=True)
class FuseOptions:
    """What the user asked for.

    Attributes:
      predictions: `NAME=FILE` or `FILE`, two names or more; with `best_of` tables of scores.
      out: CSV to write.
      rule: One of `ALL_RULES`.
      targets: Assays; all that the first file has, if empty.
      smiles_column: The first column of each file, if None.
      validation: With `stacking`: predictions of validation compounds by the same runs, likewise
        `NAME=FILE`; a column `run` says which test fold their run holds out. Of a file with a
        column `part` the part `val` is taken; none of these compounds may be among those joined.
      truth: With `stacking`: the readouts of these compounds.
      fold_column: Of the predictions and the truth.
      penalty: Of `stacking`.
      predictors: With `best_of`: predictors to choose among; all, if empty.
      score: With `best_of`: the score to choose by.
    """

    predictions: Sequence[str]
    out: Path
    rule: str = "maximum"
    targets: Sequence[str] = ()
    smiles_column: str | None = None
    validation: Sequence[str] = ()
    truth: Path | None = None
    fold_column: str = FOLD
    penalty: float = 1.0
    predictors: Sequence[str] = ()
    score: str = "auroc_median"


def run(options: FuseOptions, console: Console) -> None:
    """Writes the joined predictions, or the best scores.

    Args:
      options: See `FuseOptions`.
      console: Where to print.

    Raises:
      UserError: A file or an option cannot be used.
    """
    if options.rule not in ALL_RULES:
        raise UsageError(f"--rule {options.rule}: one of {', '.join(ALL_RULES)} expected")
    needed = options.rule == STACKING
    if bool(options.validation) != needed or (options.truth is not None) != needed:
        raise UsageError(f"--rule {STACKING} goes together with --validation and --truth")
    if options.rule == BEST_OF:
        _write_best(options, console)
        return
    files = named_files(options.predictions, "predictions")
    if len(files) < 2:
        raise UsageError(f"predictions of {', '.join(files)} alone: two predictors needed")
    assays = _assays(options, next(iter(files.values()))[0])
    parts = {name: _read(options, paths, assays, TESTS) for name, paths in files.items()}
    compounds = _compounds(options, list(parts.values()), assays)
    predicted = _stack(options, parts, compounds)
    if needed:
        joined = _stacked(options, predicted, compounds, assays, list(files), console)
    else:
        joined = fuse(predicted, options.rule)
    write_predictions(options.out, compounds.smiles, joined, assays, compounds.others)
    partly = int(np.isnan(predicted).all(2).any(0).sum())
    say(console, f"wrote {options.out}: {options.rule} of {', '.join(files)} for "
        f"{count(len(compounds.smiles), 'compound')}, {count(len(assays), 'assay')}")  # fmt: skip
    if partly:
        say(console, f"{count(partly, 'compound')} lacked a predictor: fused from the others")


def _assays(options: FuseOptions, path: Path) -> list[str]:
    if options.targets:
        return list(options.targets)
    names = column_names(path)
    smiles = options.smiles_column if options.smiles_column in names else names[0]
    skipped = {smiles, options.fold_column, RUN, ROW, PART, REASON}
    skipped |= {f"{name}_sd" for name in names}  # what `predict --spread` adds
    return [name for name in names if name not in skipped]


def _read(
    options: FuseOptions, paths: Sequence[Path], assays: list[str], wanted: str
) -> list[PredictionRows]:
    """Reads predictions; of a file that knows the part of each compound, those of one part."""
    parts = []
    for path in paths:
        part = read_prediction_rows(path, assays, smiles_column=options.smiles_column)
        wrong = (part.values < 0) | (part.values > 1)
        if wrong.any():
            row, column = np.argwhere(wrong)[0].tolist()
            raise UserError(
                f"{path}, line {line_of(row)}, column {assays[column]!r}: found "
                f"{part.values[row, column]:g}, a probability from 0 to 1 expected"
            )
        parts.append(_of_part(part, wanted))
    return parts


def _of_part(part: PredictionRows, wanted: str) -> PredictionRows:
    if PART not in part.others.column_names:
        return part
    found = part.others[PART].to_pylist()
    rows = np.flatnonzero(np.array(found) == wanted)
    if not rows.size:
        raise UserError(
            f"{part.path}, column {PART!r}: no compound of part {wanted!r}, found "
            f"{', '.join(sorted(set(found)))}; a model must not be judged by what it was trained on"
        )
    return _take(part, rows)


def _take(part: PredictionRows, rows: Int[np.ndarray, " k"]) -> PredictionRows:
    smiles = tuple(part.smiles[row] for row in rows.tolist())
    return PredictionRows(part.path, smiles, part.values[rows], part.others.take(pa.array(rows)))


def _compounds(
    options: FuseOptions, predictors: Sequence[Sequence[PredictionRows]], assays: list[str]
) -> AssayTable:
    """All compounds that any predictor speaks of, in the order of the first, then of the others.

    Equal SMILES are told apart by fold and row of the table, where all files have them, or else by
    how often they came before.
    """
    every = [part for parts in predictors for part in parts]
    columns = [
        name
        for name in (options.fold_column, ROW)
        if all(name in part.others.column_names for part in every)
    ]
    keys: dict[tuple[object, ...], None] = {}
    for parts in predictors:
        times: dict[tuple[str, ...], int] = {}
        for part in parts:
            texts = [part.others[name].to_pylist() for name in columns]
            for key in zip(part.smiles, *texts, strict=True):
                times[key] = times.get(key, 0) + 1
                keys[(*key, times[key])] = None
    smiles = tuple(str(key[0]) for key in keys)
    others = {
        name: pa.array([str(key[i]) for key in keys], pa.string())
        for i, name in enumerate(columns, 1)
    }
    labels = np.full((len(smiles), len(assays)), np.nan, np.float32)
    return AssayTable(options.out, smiles, labels, tuple(assays), pa.table(others))


def _stack(
    options: FuseOptions, parts: dict[str, list[PredictionRows]], compounds: AssayTable
) -> Float[np.ndarray, "m n t"]:
    return np.stack(
        [
            align_predictions(files, compounds, fold_column=options.fold_column)
            for files in parts.values()
        ]
    )


def _stacked(
    options: FuseOptions,
    predicted: Float[np.ndarray, "m n t"],
    compounds: AssayTable,
    assays: list[str],
    names: list[str],
    console: Console,
) -> Float[np.ndarray, "n t"]:
    """Fits each run on its validation compounds and joins the compounds that it tests."""
    files = named_files(options.validation, "validation predictions")
    if list(files) != names:
        raise UsageError(f"--validation is of {', '.join(files)}, {', '.join(names)} expected")
    parts = [_read(options, paths, assays, VALIDATES) for paths in files.values()]
    runs = _runs(parts)
    folds = (
        compounds.column(options.fold_column)
        if options.fold_column in compounds.others.column_names
        else [""] * len(compounds.smiles)
    )
    if missing := sorted(set(folds) - set(runs)) if runs != [""] else []:
        raise UserError(
            f"{parts[0][0].path}: no validation predictions of run {missing[0]!r}, "
            f"which tests {folds.count(missing[0])} compounds; found {', '.join(runs)}"
        )
    truth = _truth(options, assays)
    joined = np.full(predicted.shape[1:], np.nan)
    for run_name in runs:
        rows = np.array([run_name in ("", fold) for fold in folds])
        model = _fit(options, parts, run_name, truth, len(assays))
        for part in (part for files in parts for part in files):
            _refuse_overlap(_of_run(part, run_name), compounds.take(np.flatnonzero(rows)))
        joined[rows] = model.predict(predicted[:, rows])
        weights = ", ".join(f"{n} {w:.2f}" for n, w in zip(names, model.weights, strict=True))
        say(console, f"run {run_name or 'one and only'}: weights of the logits {weights}")
    return joined


def _runs(parts: Sequence[Sequence[PredictionRows]]) -> list[str]:
    found: dict[str, None] = {}
    for part in (part for files in parts for part in files):
        has_run = RUN in part.others.column_names
        found |= dict.fromkeys(part.others[RUN].to_pylist() if has_run else [""])
    if len(found) > 1 and "" in found:
        raise UserError(f"column {RUN!r} is missing or empty in some validation predictions only")
    return list(found)


def _truth(options: FuseOptions, assays: list[str]) -> AssayTable:
    assert options.truth is not None
    source = CompoundSource(options.truth, options.smiles_column, assays)
    table = source.read()
    require_binary(table)
    return table


def _fit(
    options: FuseOptions,
    parts: Sequence[Sequence[PredictionRows]],
    run_name: str,
    truth: AssayTable,
    n_assays: int,
) -> Stacking:
    aligned = []
    for files in parts:
        chosen = [_of_run(part, run_name) for part in files]
        aligned.append(
            align_predictions(
                [part for part in chosen if part.smiles], truth, fold_column=options.fold_column
            )
            if any(part.smiles for part in chosen)
            else np.full((len(truth.smiles), n_assays), np.nan, np.float32)
        )
    predicted = np.stack(aligned)
    rows = ~np.isnan(predicted).all((0, 2))
    if run_name and options.fold_column in truth.others.column_names:
        folds = np.array(truth.column(options.fold_column))
        if (leak := rows & (folds == run_name)).any():
            row = int(np.argmax(leak))
            raise UserError(
                f"{truth.path}, line {line_of(row)}: a compound of fold {run_name!r}, which run "
                f"{run_name!r} tests, is among its validation predictions"
            )
    try:
        return fit_stacking(predicted[:, rows], truth.labels[rows], penalty=options.penalty)
    except ValueError as error:
        raise UsageError(f"--rule {STACKING}: {error}") from error


def _of_run(part: PredictionRows, run_name: str) -> PredictionRows:
    if not run_name:
        return part
    return _take(part, np.flatnonzero(np.array(part.others[RUN].to_pylist()) == run_name))


def _refuse_overlap(validation: PredictionRows, compounds: AssayTable) -> None:
    """Raises where compounds to be joined are among those that the weights are learned from."""

    def keys(smiles: Sequence[str], others: pa.Table) -> list[tuple[str, str]]:
        texts = others[ROW].to_pylist() if by_row else [""] * len(smiles)
        return list(zip(smiles, texts, strict=True))

    by_row = all(ROW in others.column_names for others in (validation.others, compounds.others))
    joined = set(keys(compounds.smiles, compounds.others))
    for line, key in enumerate(keys(validation.smiles, validation.others)):
        if key in joined:
            raise UserError(
                f"{validation.path}, line {line_of(line)} of its compounds: {key[0]!r} is among "
                "the predictions to be joined, too: stacking would learn from what it predicts; "
                "validation compounds of the same runs expected (validation.csv of `train`)"
            )


def _write_best(options: FuseOptions, console: Console) -> None:
    table = read_score_tables([Path(text) for text in options.predictions])
    names = list(options.predictors or table.scores)
    score = options.score
    for name in names:
        known = table.scores.get(name)
        if known is None:
            raise UsageError(f"no predictor {name!r}, found {', '.join(table.scores)}")
        if score not in known and score == FuseOptions.score and "auroc" in known:
            score = "auroc"  # as the study's files call it
        if score not in known:
            raise UsageError(f"{name}: no score {score!r}, found {', '.join(known)}")
    found = best_of(np.stack([table.scores[name][score] for name in names]))
    columns = {
        "predictor": pa.array([f"best of {', '.join(names)}"] * len(table.assays)),
        "assay": pa.array(list(table.assays)),
        score: pa.array(["" if np.isnan(v) else f"{v:.7g}" for v in found.value.tolist()]),
        "chosen": pa.array([names[i] if i >= 0 else "" for i in found.predictor.tolist()]),
    }
    write_csv(options.out, pa.table(columns))
    counts = count_above(found.value)
    above = ", ".join(f"{n} above {limit:g}" for limit, n in counts.above.items())
    say(console, f"best of {', '.join(names)} by {score}: {above} of {counts.n_assays} assays")
    say(console, "Chosen by the test labels themselves: what a choice per assay could reach.")
    say(console, f"wrote {options.out}")
