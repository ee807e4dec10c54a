"""`cellml activity train`: a model a held-out fold, scored beside a linear baseline."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict
from rich.console import Console

from cellml import experiment
from cellml.commands import activity_evaluate, activity_split
from cellml.commands.activity_held_out import gather_predictions, read_parts
from cellml.commands.activity_inputs import (
    FOLD,
    CompoundFolds,
    CompoundSource,
    folds_of_splits,
    read_folds,
)
from cellml.commands.activity_leakage import LEAKAGE, note_leakage, report_leakage
from cellml.commands.config_changes import change_config
from cellml.commands.long_work import EXIT_INTERRUPTED, count, say
from cellml.data.split_files import write_splits
from cellml.data.writers import write_json
from cellml.errors import UsageError
from cellml.experiment.activity_presets import PRESETS
from cellml.models.mpnn import MPNN_FIELDS
from cellml.tasks.activity_spec import REPRESENTATIONS
from cellml.train.loop import TrainingInterrupted

FOLDER = "fold_"


@dataclass(frozen=True)
class TrainOptions:
    """What the user asked for; see `cellml activity train --help`. None leaves it to the preset.

    Attributes:
      source: Compounds and assays.
      out: Folder; fold k is trained in `out/fold_<name>`, a single split in `out/model`.
      preset: A key of `PRESETS`.
      split: A kind of `cellml activity split`.
      folds: Number of folds that are held out in turn; None for one split in three parts.
      split_column: Folds by a column instead.
      splits_file: Folds or parts as Chemprop's JSON instead.
      holdout: Names of the folds to hold out; all in turn, if empty.
      features: Files of further features, each a modality.
      features_only: Whether structures are left out.
      representation: One of `REPRESENTATIONS`.
      ensemble: Members, trained together.
      epochs: Length.
      kind: "binary", "regression" or "multiclass".
      changes: `name.of.entry=value` of the config.
      seed: Of everything.
      baseline: Whether to train the linear baseline on the same split.
      scale_features: Whether features are standardised by the training compounds.
      leakage: Whether to write leakage.json, and show it: what the split lets through.
      cache: Folder of molecule codes, shared by runs; within `out`, if None.
      strict: Stop where a SMILES cannot be read.
      workers: Processes for featurising.
    """

    source: CompoundSource
    out: Path
    preset: str = "cellml"
    split: str | None = None
    folds: int | None = None
    split_column: str | None = None
    splits_file: Path | None = None
    holdout: Sequence[str] = ()
    features: Sequence[Path] = ()
    features_only: bool = False
    representation: str | None = None
    ensemble: int | None = None
    epochs: int | None = None
    kind: str | None = None
    changes: Sequence[str] = ()
    seed: int = 0
    baseline: bool = True
    scale_features: bool = True
    leakage: bool = False
    cache: Path | None = None
    strict: bool = False
    workers: int = 1


@dataclass(frozen=True)
class Plan:
    """The trainings of a command.

    Attributes:
      configs: One a held-out fold, by the name of its folder.
      folds: What each holds out; None where one split was made by the training itself.
    """

    configs: dict[str, ConfigDict]
    folds: CompoundFolds | None


def run(options: TrainOptions, console: Console) -> int:
    """Trains every held-out fold, or goes on where an interrupted run stopped, and scores them.

    Args:
      options: See `TrainOptions`.
      console: Where progress and the summary go.

    Returns:
      Exit code: 0, or 130 if interrupted (a checkpoint was written).

    Raises:
      UserError: A table or file cannot be read.
      UsageError: Options do not fit each other, the table, or the run that is there.
    """
    check_options(options)
    plan = make_plan(options, console)
    if plan.folds is not None:
        held_out = [k for k, n in enumerate(plan.folds.names) if FOLDER + n in plan.configs]
        _tell_leakage(options, plan.folds, console, only=held_out)
    for number, (name, config) in enumerate(plan.configs.items(), 1):
        say(console, f"[{number}/{len(plan.configs)}] {name}")
        try:
            experiment.run(config, options.out / name)
        except TrainingInterrupted as stop:
            say(console, str(stop))
            return EXIT_INTERRUPTED
        except (ValueError, FileNotFoundError) as error:
            raise UsageError(f"cellml activity train: {error}") from error
    held_out = gather_predictions(
        options.out, {name: name.removeprefix(FOLDER) for name in plan.configs}
    )
    say(console, f"predictions of the held-out compounds: {held_out}")
    _score(options, plan, held_out, console)
    say(console, f"{count(len(plan.configs), 'model')} in {options.out}")
    return 0


def make_plan(options: TrainOptions, console: Console) -> Plan:
    """Decides what is trained on what; writes the splits.

    Args:
      options: See `TrainOptions`.
      console: Where the command for splits prints.

    Returns:
      The plan.

    Raises:
      UserError: A table or file cannot be read.
      UsageError: Options do not fit each other or the table.
    """
    column, file = options.split_column, options.splits_file
    if column is None and file is None and options.folds is not None:
        split = activity_split.SplitOptions(
            options.source,
            options.out / "split",
            split=options.split or "scaffold",
            folds=options.folds,
            seed=options.seed,
            similarity=False,
            strict=options.strict,
            workers=options.workers,
        )
        activity_split.run(split, console)
        made = CompoundSource(split.out / activity_split.TABLE, targets=options.source.targets)
        folds = read_folds(made.read(besides=[FOLD]), column=FOLD)
        assert folds is not None
        return Plan(_configs(options, folds, None), folds)
    if column is None and file is None:
        config = base_config(options)
        if options.split is not None:
            config.data.split.scheme = options.split
        return Plan({"model": config}, None)
    table = options.source.read(besides=[column] if column else [])
    folds = read_folds(table, column=column, splits_file=file)
    if folds is None:
        raise UsageError("no folds found")
    return Plan(_configs(options, folds, column), folds)


def _configs(
    options: TrainOptions, folds: CompoundFolds, column: str | None
) -> dict[str, ConfigDict]:
    """One config a held-out fold; validation without a part of its own is taken by scaffolds."""
    names = [folds.names[k] for k in folds.tested]
    if unknown := [name for name in options.holdout if name not in names]:
        raise UsageError(f"--holdout-fold {unknown[0]}: found {', '.join(names)}")
    configs = {}
    for k, name in zip(folds.tested, names, strict=True):
        if options.holdout and name not in options.holdout:
            continue
        config = base_config(options)
        path = options.out / "splits" / f"{name}.json"
        write_splits(path, [folds.split_of(k)])
        config.data.split.update(scheme="file", file=str(path))
        if column:
            config.data.ignore = (*config.data.ignore, column)
        configs[FOLDER + name] = config
    return configs


def base_config(options: TrainOptions) -> ConfigDict:
    """The preset with the options that do not concern the split.

    Raises:
      UsageError: An option is unknown or does not fit.
    """
    config = PRESETS[options.preset]()
    data, model = config.data, config.model
    if "seed" in config:  # a kernel machine draws nothing at random
        config.seed = options.seed
    data.path = str(options.source.path)
    data.smiles_column = options.source.smiles_column or ""
    data.targets, data.ignore = tuple(options.source.targets), tuple(options.source.ignore)
    data.features = tuple(str(path) for path in options.features)
    data.strict, data.workers = options.strict, options.workers
    data.cache = str(options.cache or options.out / "molecules")
    data.scale_features = options.scale_features
    if options.features_only:
        model.representation = "features_only"
    elif options.representation is not None:
        model.representation = options.representation
    if options.kind is not None:
        model.kind = options.kind
        if options.kind != "binary":
            config.train.best = "loss"
    if options.ensemble is not None:
        model.members = options.ensemble
    if ("kernel" in config) != (model.representation == "tanimoto"):
        raise UsageError("--representation tanimoto goes with --preset tanimoto, and with no other")
    if options.epochs is not None:
        if "epochs" not in config.train:
            raise UsageError(f"--epochs: --preset {options.preset} takes no steps")
        config.train.epochs = options.epochs
    for change in options.changes:
        change_config(config, change, open_entries={"model.mpnn": MPNN_FIELDS})
    return config


def check_options(options: TrainOptions) -> None:
    """Raises a UsageError where options are unknown or exclude each other."""
    if options.preset not in PRESETS:
        raise UsageError(f"--preset: unknown {options.preset!r}; known: {', '.join(PRESETS)}")
    if options.representation not in (None, *REPRESENTATIONS):
        raise UsageError(
            f"--representation: unknown {options.representation!r}; known: "
            f"{', '.join(REPRESENTATIONS)}"
        )
    given = [
        name
        for name, value in (
            ("--split", options.split),
            ("--split-column", options.split_column),
            ("--splits-file", options.splits_file),
        )
        if value
    ]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} exclude each other")
    if options.features_only and not options.features:
        raise UsageError("--features-only: --features FILE expected")
    if options.features_only and options.representation:
        raise UsageError("--features-only and --representation exclude each other")


def _tell_leakage(
    options: TrainOptions,
    folds: CompoundFolds,
    console: Console,
    *,
    only: Sequence[int] | None = None,
) -> None:
    """Says which compounds are on two sides of the split; all about it where that was asked for."""
    column = [options.split_column] if options.split_column else []
    table = options.source.read(besides=column)
    if options.leakage:
        facts = report_leakage(table, folds.fold, folds.names, console, workers=options.workers)
        write_json(options.out / LEAKAGE, facts)
    note_leakage(table, folds, console, only=only, workers=options.workers)


def _score(options: TrainOptions, plan: Plan, held_out: Path, console: Console) -> dict[str, Any]:
    """Scores the held-out compounds beside a baseline of the very parts that were trained on."""
    splits = options.out / "tested.json"
    column = [options.split_column] if options.split_column else []
    table = options.source.read(besides=column)
    parts = [read_parts(options.out / name, table) for name in plan.configs]
    write_splits(splits, parts)
    if plan.folds is None:
        _tell_leakage(options, folds_of_splits(parts, len(table.smiles)), console)
    evaluate = activity_evaluate.EvaluateOptions(
        CompoundSource(
            options.source.path,
            options.source.smiles_column,
            options.source.targets,
            [*options.source.ignore, *column],
        ),
        [f"{options.preset}={held_out}"],
        options.out,
        splits_file=splits,
        kind=base_config(options).model.kind,
        baseline=options.baseline,
        workers=options.workers,
    )
    return activity_evaluate.run(evaluate, console)
