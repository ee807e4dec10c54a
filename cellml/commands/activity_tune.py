"""`cellml activity tune`: searches a model's settings on the compounds that are not held out."""

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
from ml_collections import ConfigDict
from rich.console import Console

from cellml.commands.activity_train import (
    Plan,
    TrainOptions,
    check_options,
    make_plan,
    write_plan,
)
from cellml.commands.long_work import EXIT_INTERRUPTED, count, say
from cellml.data.split_files import CompoundSplit, split_of_parts, write_splits
from cellml.data.text_tables import write_csv
from cellml.data.writers import write_json
from cellml.errors import UsageError
from cellml.experiment.activity_inputs import Inputs, digests_of, read_inputs
from cellml.experiment.activity_search import Search, TrialResult
from cellml.experiment.activity_space import settings_of, space_of
from cellml.experiment.activity_split import inner_parts
from cellml.train.loop import TrainingInterrupted

BEST, TABLE, INNER = "best.json", "trials.csv", "inner_split.json"
TRAINED = "trained"


@dataclass(frozen=True)
class TuneOptions:
    """What the user asked for; see `cellml activity tune --help`.

    Attributes:
      train: As of `cellml activity train`; its `out` is the folder of the search. Trials train one
        network each unless an ensemble is asked for.
      trials: Finished ones in all, for each held-out fold.
      timeout_min: No trial of this call begins later; None for no limit.
      inner: "scaffold_balanced" or "random", of the split that trials are rated by.
      ranges: Instead of those of the dissertation, see `space_of`.
    """

    train: TrainOptions
    trials: int = 20
    timeout_min: float | None = None
    inner: str = "scaffold_balanced"
    ranges: Sequence[str] = ()


def run(options: TuneOptions, console: Console) -> int:
    """Searches for every held-out fold, or goes on where an interrupted search stopped.

    Below `out`, in a folder named as that of the model: inner_split.json, the journal, a folder a
    trial, trials.csv and, with the best settings and the command that trains with them, best.json.

    Args:
      options: See `TuneOptions`.
      console: Where progress and the summary go.

    Returns:
      Exit code: 0, or 130 if interrupted (finished trials stay).

    Raises:
      UserError: A table or file cannot be read, or no trial is complete.
      UsageError: Options do not fit each other, the table, or the search that is there.
    """
    check_options(options.train)
    if options.trials < 1 or (options.timeout_min is not None and not options.timeout_min > 0):
        raise UsageError("--trials and --timeout: numbers above 0 expected")
    if options.train.preset == "tanimoto":
        raise UsageError("--preset tanimoto chooses its own settings: `cellml activity train` does")
    plan = make_plan(options.train, console)
    searches = _open_all(options, plan)
    write_plan(plan, console)
    seconds = None if options.timeout_min is None else 60 * options.timeout_min / len(plan.configs)
    for number, (name, begun) in enumerate(searches.items(), 1):
        say(console, f"[{number}/{len(plan.configs)}] {name}")
        try:
            _search(options, name, begun, seconds, console)
        except TrainingInterrupted as stop:
            say(console, f"{stop}; the trial will be repeated, the finished ones stay")
            return EXIT_INTERRUPTED
        except (ValueError, FileNotFoundError) as error:
            raise UsageError(f"cellml activity tune: {error}") from error
    return 0


class _Begun(NamedTuple):
    """A search whose folder is open, and the split that rates its trials."""

    search: Search
    sides: CompoundSplit


def _open_all(options: TuneOptions, plan: Plan) -> dict[str, _Begun]:
    """Opens the folders of all searches; one of other settings or data is refused."""
    try:
        inputs = read_inputs(next(iter(plan.configs.values())))
        return {name: _open(options, plan, name, inputs) for name in plan.configs}
    except ValueError as error:
        raise UsageError(f"cellml activity tune: {error}") from error


def _open(options: TuneOptions, plan: Plan, name: str, inputs: Inputs) -> _Begun:
    train, config = options.train, plan.configs[name]
    table, split = inputs.table, config.data.split
    outer = plan.given(name, table, workers=train.workers)
    parts = inner_parts(
        split, table, outer, scheme=options.inner, seed=train.seed, workers=train.workers
    )
    folder = train.out / name
    inner = ConfigDict(config.to_dict())
    inner.data.split.update(scheme="file", file=str(folder / INNER), number=0)
    inner.data.targets = table.names
    inner.model.members = train.ensemble or 1
    space = space_of(inner, options.ranges)
    search = Search(inner, folder, space=space, seed=train.seed, data=digests_of(inputs, parts))
    return _Begun(search, split_of_parts(parts))


def _search(
    options: TuneOptions, name: str, begun: _Begun, seconds: float | None, console: Console
) -> None:
    search, sides = begun
    folder, inner = search.folder, search.config
    write_splits(folder / INNER, [sides])
    for result in search.results:
        say(console, _line(search, result, None))

    def finished(result: TrialResult, took_s: float) -> None:
        _write_table(folder / TABLE, search)
        say(console, _line(search, result, took_s))

    if search.interrupted:
        say(console, f"{count(search.interrupted, 'interrupted trial')}, repeated")
    search.run(options.trials, seconds=seconds, finished=finished)
    _write_table(folder / TABLE, search)
    best = search.best
    settings = settings_of(inner, best.values)
    command = train_command(options, name, settings)
    results = search.results
    write_json(
        folder / BEST,
        {
            "score": best.score,
            "by": search.by,
            "trial": best.number,
            "values": best.values,
            "settings": settings,
            "command": command,
            "trials": {
                state: sum(r.state == state for r in results)
                for state in ("complete", "pruned", "diverged")
            },
            "compounds": {side: len(rows) for side, rows in sides._asdict().items()},
        },
    )
    say(console, f"best of {len(results)}: trial {best.number}, {search.by} {best.score:.4g}")
    say(console, command)


def train_command(options: TuneOptions, name: str, settings: Sequence[str]) -> str:
    """The command line that trains with the settings found.

    Args:
      options: Of the search.
      name: Of the model's folder; says which fold is held out.
      settings: As `--set` takes them.

    Returns:
      One line for a shell.
    """
    train = options.train
    words: list[str] = ["cellml", "activity", "train", str(train.source.path)]
    given = {
        "--out": train.out / TRAINED,
        "--preset": train.preset,
        "--split": train.split,
        "--folds": train.folds,
        "--split-column": train.split_column,
        "--splits-file": train.splits_file,
        "--holdout-fold": name.removeprefix("fold_") if name.startswith("fold_") else None,
        "--representation": train.representation,
        "--ensemble": train.ensemble,
        "--epochs": train.epochs,
        "--kind": train.kind,
        "--seed": train.seed,
        "--smiles-column": train.source.smiles_column,
        "--cache": train.cache,
    }
    for option, value in given.items():
        words += [] if value is None else [option, str(value)]
    repeated = {
        "--features": train.features,
        "--targets": train.source.targets,
        "--ignore": train.source.ignore,
        "--set": [*train.changes, *settings],
    }
    for option, values in repeated.items():
        for value in values:
            words += [option, str(value)]
    words += ["--features-only"] * train.features_only + ["--strict"] * train.strict
    words += ["--no-scale-features"] * (not train.scale_features)
    return shlex.join(words)


def _line(search: Search, result: TrialResult, took_s: float | None) -> str:
    chosen = ", ".join(f"{name} {value}" for name, value in result.values.items())
    scored = f"{search.by} {result.score:.4g}" if result.state == "complete" else result.state
    when = "kept" if took_s is None else f"{took_s:.0f} s"
    return f"trial {result.number}: {chosen}: {scored} ({result.evaluations} epochs, {when})"


def _write_table(path: Path, search: Search) -> None:
    results = search.results
    columns = {
        "trial": pa.array([result.number for result in results], pa.int64()),
        "state": pa.array([result.state for result in results], pa.string()),
        search.by: _texts([result.score for result in results]),
        f"validation_{search.by}": _texts([result.validation for result in results]),
        "evaluations": pa.array([result.evaluations for result in results], pa.int64()),
    }
    for name in search.space:
        columns[name] = _texts([result.values.get(name, math.nan) for result in results])
    write_csv(path, pa.table(columns))


def _texts(values: Sequence[int | float]) -> pa.Array:
    return pa.array(["" if math.isnan(v) else f"{v:.7g}" for v in values], pa.string())
