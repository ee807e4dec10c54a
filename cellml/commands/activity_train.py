"""`cellml activity train`: a model a held-out fold, scored beside a linear baseline."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int
from ml_collections import ConfigDict
from rich.console import Console

from cellml import experiment
from cellml.commands import activity_evaluate, activity_split
from cellml.commands.activity_held_out import gather_predictions, read_parts
from cellml.commands.activity_inputs import (
    FOLD,
    CompoundFolds,
    CompoundSource,
    column_names,
    folds_of_splits,
    folds_of_texts,
    read_folds,
)
from cellml.commands.activity_leakage import LEAKAGE, note_leakage, report_leakage
from cellml.commands.config_changes import change_config
from cellml.commands.long_work import EXIT_INTERRUPTED, count, say
from cellml.data.assay_tables import AssayTable
from cellml.data.split_files import CompoundSplit, write_splits
from cellml.data.writers import write_json
from cellml.errors import UsageError
from cellml.experiment.activity_inputs import (
    check_digests,
    check_settings,
    digests_of,
    is_begun,
    read_inputs,
)
from cellml.experiment.activity_presets import PRESETS
from cellml.experiment.activity_split import given_parts, parts_of_split
from cellml.models.mpnn import MPNN_FIELDS
from cellml.tasks.activity_spec import REPRESENTATIONS
from cellml.train.loop import TrainingInterrupted

FOLDER = "fold_"
SPLITS = ("scaffold", "scaffold_balanced", "random", "kmeans")
FOLD_SPLITS, FOLDS = ("scaffold", "kmeans"), 5
"""Kinds that make no parts but folds; how many."""


@dataclass(frozen=True)
class TrainOptions:
    """What the user asked for; see `cellml activity train --help`. None leaves it to the preset.

    Attributes:
      source: Compounds and assays.
      out: Folder; fold k is trained in `out/fold_<name>`, a single split in `out/model`.
      preset: A key of `PRESETS`.
      split: One of `SPLITS`.
      folds: Number of folds that are held out in turn; None for one split in three parts, where
        `split` makes these.
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
      splits: What each config's file of a split holds, by the name of the folder.
      made: The folds, where this command makes them.
    """

    configs: dict[str, ConfigDict]
    folds: CompoundFolds | None
    splits: dict[str, CompoundSplit]
    made: tuple[activity_split.SplitOptions, activity_split.SplitMade] | None = None

    def given(self, name: str, table: AssayTable, *, workers: int = 1) -> Int[np.ndarray, " n"]:
        """Parts of the compounds in the training of a folder, as of `given_parts`."""
        if name in self.splits:
            return parts_of_split(self.splits[name], len(table.smiles))
        return given_parts(self.configs[name].data.split, table, workers=workers)


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
    check_plan(options, plan)
    write_plan(plan, console)
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
    """Decides what is trained on what; writes nothing.

    Args:
      options: See `TrainOptions`.
      console: Where folds that are made say what they leave out.

    Returns:
      The plan.

    Raises:
      UserError: A table or file cannot be read.
      UsageError: Options do not fit each other or the table.
    """
    column, file = options.split_column, options.splits_file
    if column or file:
        table = options.source.read(besides=[column] if column else [])
        folds = read_folds(table, column=column, splits_file=file)
        if folds is None:
            raise UsageError("no folds found")
        return _plan_of(options, folds)
    if options.folds is None and options.split not in FOLD_SPLITS:
        config = base_config(options)
        if options.split is not None:
            config.data.split.scheme = options.split
        return Plan({"model": config}, None, {})
    if options.folds is None:
        say(console, f"note: --split {options.split} makes folds, {FOLDS} without --folds")
    split = _split_options(options)
    made = activity_split.make(split, console)
    path = split.out / activity_split.TABLE
    return _plan_of(options, folds_of_texts(made.texts, path, FOLD), (split, made))


def check_plan(options: TrainOptions, plan: Plan) -> None:
    """Refuses what is there already and was trained with other settings or on other data.

    Args:
      options: See `TrainOptions`.
      plan: From `make_plan`.

    Raises:
      UsageError, CheckpointMismatchError: A model or checkpoint is of something else.
    """
    for name, config in plan.configs.items():
        check_settings(config, options.out / name)
    begun = [name for name in plan.configs if is_begun(options.out / name)]
    if not begun:
        return
    inputs = read_inputs(plan.configs[begun[0]])
    for name in begun:
        given = plan.given(name, inputs.table, workers=options.workers)
        check_digests(options.out / name, digests_of(inputs, given), options.source.path)


def write_plan(plan: Plan, console: Console) -> None:
    """Writes the splits that the trainings of a plan read."""
    if plan.made is not None:
        activity_split.write(*plan.made, console)
    for name, split in plan.splits.items():
        write_splits(Path(plan.configs[name].data.split.file), [split])


def _split_options(options: TrainOptions) -> activity_split.SplitOptions:
    if FOLD in column_names(options.source.path):
        raise UsageError(
            f"{options.source.path}: has a column {FOLD!r} already: rename it, or give "
            f"--split-column {FOLD} instead of --split and --folds"
        )
    by_profile = options.split == "kmeans"
    if by_profile and len(options.features) != 1:
        raise UsageError(
            f"--split kmeans: {len(options.features)} files of --features found, one expected, "
            "whose profiles are clustered; `cellml activity split` makes a column of folds by any"
        )
    return activity_split.SplitOptions(
        options.source,
        options.out / "split",
        split=options.split or "scaffold",
        folds=options.folds or FOLDS,
        features=Path(options.features[0]) if by_profile else None,
        seed=options.seed,
        similarity=False,
        strict=options.strict,
        workers=options.workers,
    )


def _plan_of(
    options: TrainOptions,
    folds: CompoundFolds,
    made: tuple[activity_split.SplitOptions, activity_split.SplitMade] | None = None,
) -> Plan:
    """One config a held-out fold; validation without a part of its own is taken by scaffolds."""
    names, column = [folds.names[k] for k in folds.tested], options.split_column
    if unknown := [name for name in options.holdout if name not in names]:
        raise UsageError(f"--holdout-fold {unknown[0]}: found {', '.join(names)}")
    configs, splits = {}, {}
    for k, name in zip(folds.tested, names, strict=True):
        if options.holdout and name not in options.holdout:
            continue
        config = base_config(options)
        path = options.out / "splits" / f"{name}.json"
        config.data.split.update(scheme="file", file=str(path))
        if column:
            config.data.ignore = (*config.data.ignore, column)
        configs[FOLDER + name] = config
        splits[FOLDER + name] = folds.split_of(k)
    return Plan(configs, folds, splits, made)


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
    if options.split is not None and options.split not in SPLITS:
        raise UsageError(
            f"--split: unknown {options.split!r}; known: {', '.join(SPLITS)}; folds that are there "
            "already: --split-column or --splits-file"
        )
    if options.folds is not None and options.split == "scaffold_balanced":
        raise UsageError("--split scaffold_balanced makes parts: --folds go with --split scaffold")
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
