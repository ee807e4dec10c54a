"""`cellml profile train`: a network for features of cells, from the project's own settings."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ml_collections import ConfigDict
from rich.console import Console

from cellml import experiment
from cellml.commands.config_changes import change_config
from cellml.commands.long_work import EXIT_INTERRUPTED, say
from cellml.commands.profile_outputs import output_folder
from cellml.commands.profile_train_config import (
    follow_partition,
    follow_project,
    follow_recipe,
    without_effect,
)
from cellml.data.cell_store import open_store
from cellml.data.painting_project import open_project
from cellml.errors import UsageError
from cellml.experiment.embedding import SCHEMES, last_embedder
from cellml.experiment.wsl_presets import PRESETS
from cellml.train.loop import TrainingInterrupted

IMAGENET = "ImageNet"


@dataclass(frozen=True)
class TrainOptions:
    """What the user asked for; see `cellml profile train --help`. None leaves it to the project.

    Attributes:
      project: Folder of the project.
      experiment: The run is `outputs/<experiment>/model`.
      preset: A key of `PRESETS`.
      split: One of `SCHEMES`.
      plates: Plates that validate.
      treatments: Treatments that are held out.
      init_weights: Weights to start from.
      epochs: Length of the training.
      steps: The same in steps.
      changes: `name.of.entry=value`, as in a config; values are JSON or texts.
      store: Name of the store in `outputs/`.
      config: File in inputs/config, where there are several.
    """

    project: Path
    experiment: str = "wsl"
    preset: str = "dissertation"
    split: str | None = None
    plates: Sequence[str] = ()
    treatments: Sequence[str] = ()
    init_weights: Path | None = None
    epochs: int | None = None
    steps: int | None = None
    changes: Sequence[str] = ()
    store: str = "single-cells"
    config: str | None = None


def run(options: TrainOptions, console: Console) -> int:
    """Trains, or goes on where an interrupted run stopped.

    Args:
      options: See `TrainOptions`.
      console: Where the summary goes.

    Returns:
      Exit code: 0, or 130 if interrupted (a checkpoint was written).

    Raises:
      UserError: The project or the weights cannot be read.
      UsageError: Options do not fit each other, the project, or the run that is there.
    """
    workdir = output_folder(options.project, options.experiment) / "model"
    config = make_config(options)
    recipe = options.preset == "dissertation"
    project = open_project(options.project, config=options.config)
    if unused := without_effect(project, recipe=recipe):
        why = "of no effect here" if recipe else f"not followed by --preset {options.preset}"
        say(console, f"note: {project.config_file}: {why}: {', '.join(unused)}")
    try:
        experiment.run(config, workdir)
    except TrainingInterrupted as stop:
        say(console, str(stop))
        return EXIT_INTERRUPTED
    except (ValueError, FileNotFoundError) as error:
        raise UsageError(f"cellml profile train: {error}") from error
    say(console, f"{workdir}: curves.png, metrics.jsonl and {last_embedder(workdir).name}")
    return 0


def make_config(options: TrainOptions) -> ConfigDict:
    """The config of the run: the preset, then the project's settings, then the options.

    Args:
      options: See `TrainOptions`.

    Returns:
      A config with `task = "embedding"`.

    Raises:
      UserError: The project cannot be read.
      UsageError: Options do not fit each other or the project.
    """
    if options.preset not in PRESETS:
        raise UsageError(f"--preset: unknown {options.preset!r}; known: {', '.join(PRESETS)}")
    if options.epochs is not None and options.steps is not None:
        raise UsageError("--epochs and --steps exclude each other")
    project = open_project(options.project, config=options.config)
    config = PRESETS[options.preset](options.split or SCHEMES[0])
    store = open_store(output_folder(project.root, options.store, "--store"))
    config.data.store = str(store.folder)
    recipe = options.preset == "dissertation"
    follow_project(config, project, store)
    if recipe:
        follow_recipe(config, project, epochs=options.epochs)
    if options.split is None and not options.plates and not options.treatments:
        follow_partition(config, project)
    if options.plates:
        config.data.split.update(scheme="leave_plates_out", plates=tuple(options.plates))
    if options.treatments:
        config.data.split.update(
            scheme="leave_treatments_out", treatments=tuple(options.treatments)
        )
    if options.init_weights is not None:
        config.init_weights = str(options.init_weights)
    elif recipe and project.settings("train")["train.model.initialization"] == IMAGENET:
        raise UsageError(
            f"{project.root}: the configuration wants ImageNet weights: give them with "
            "--init-weights FILE, or train from random ones with --preset scratch"
        )
    _set_length(config, options)
    for change in options.changes:
        change_config(config, change)
    return config


def _set_length(config: ConfigDict, options: TrainOptions) -> None:
    if options.epochs is not None:
        if "steps" in config.train:
            raise UsageError(f"--preset {options.preset} is as long as --steps says, not --epochs")
        config.train.epochs = options.epochs
    if options.steps is None:
        return
    if "steps" not in config.train:
        raise UsageError(f"--preset {options.preset} is as long as --epochs says, not --steps")
    config.train.update(
        steps=options.steps,
        eval_every=max(options.steps // 10, 1),
        checkpoint_every=max(options.steps // 2, 1),
    )
    schedule = config.optimizer.schedule
    schedule.update(
        steps=options.steps, warmup_steps=min(schedule.warmup_steps, options.steps // 4)
    )
