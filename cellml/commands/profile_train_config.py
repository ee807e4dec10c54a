"""What DeepProfiler's configuration says of a training, in a config of ours.

Every key of the section `train`, and those of `dataset` that decide what a network sees, is
followed, or refused with its name, or listed as of no effect here. Nothing is passed over.
"""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from cellml.data.cell_batching import MASK
from cellml.data.cell_export import crop_side
from cellml.data.cell_store import CellStore
from cellml.data.painting_config import TRAIN, flat_config
from cellml.data.painting_project import Project
from cellml.data.text_tables import suggestion
from cellml.errors import UserError
from cellml.experiment.embedding import TREATMENT

PLATE = "Metadata_Plate"
CELL_GENERATORS = ("sampled_crop_generator", "crop_generator")
GENERATORS: dict[str, tuple[str, ...]] = {
    "single_cells": CELL_GENERATORS,
    "full_image": ("full_image_crop_generator", *CELL_GENERATORS),
}
INITIALIZATIONS = ("ImageNet", "random")
WARM_UP_EPOCHS = 5
"""Of DeepProfiler's `lr_schedule: cosine`."""

RECIPE = (
    "train.model.name",
    "train.model.crop_generator",
    "train.sampling.factor",
    "train.validation.frame",
    "train.model.epochs",
    "train.model.lr_schedule",
    "train.model.augmentations",
    "train.model.initialization",
    "train.model.params.learning_rate",
    "train.model.params.batch_size",
    "train.model.params.conv_blocks",
    "train.model.params.label_smoothing",
    "train.validation.frequency",
    "train.validation.batch_size",
)
"""Keys that a preset with a recipe of its own does not follow."""

UNUSED = (
    "train.model.metrics",
    "train.sampling.cache_size",
    "train.sampling.workers",
    "train.validation.top_k",
)
"""Keys of the schema that change no weight: metrics are the same for every training here."""

REFUSED = ("train.dset.",)
"""Beginnings of keys of DeepProfiler before 0.3, whose place `train.partition` has taken."""

Refuse = Callable[[str, Any, str], UserError]


def follow_project(config: ConfigDict, project: Project, store: CellStore) -> None:
    """Takes over what any training needs to know: classes, cells, masks.

    Args:
      config: Of a preset; changed in place.
      project: Has the configuration.
      store: The cells that are to train.

    Raises:
      UserError: A key asks for what these cells are not, or for what there is not here.
    """
    settings = project.settings("train")
    refuse = _refusing(project)
    _check_old_keys(project, settings, refuse)
    _check_cells(project.config_file, settings, store)
    label = settings["dataset.metadata.label_field"]
    targets = settings["train.partition.targets"] or [label]
    if len(targets) > 1:
        raise refuse("train.partition.targets", targets, "one column of the index")
    known = targets[0] != label or label in store.columns
    config.data.label_column = targets[0] if known else TREATMENT  # strips have the treatment only
    config.model.masked = (
        settings["dataset.locations.mask_objects"] and store.settings.get("masks") != "apply"
    )


def follow_recipe(config: ConfigDict, project: Project, *, epochs: int | None = None) -> None:
    """Takes over how DeepProfiler's configuration wants a network trained.

    Args:
      config: Of the preset `dissertation`; changed in place.
      project: Has the configuration.
      epochs: Length of the training; None for the configuration's.

    Raises:
      UserError: A key asks for what there is not here.
    """
    settings, refuse = project.settings("train"), _refusing(project)
    _check_method(settings, refuse)
    config.optimizer.learning_rate = settings["train.model.params.learning_rate"]
    config.train.batch_size = settings["train.model.params.batch_size"]
    config.train.epochs = settings["train.model.epochs"] if epochs is None else epochs
    config.train.eval_every_epochs = settings["train.validation.frequency"]
    smoothing = settings["train.model.params.label_smoothing"]
    if smoothing >= 1:
        raise refuse("train.model.params.label_smoothing", smoothing, "a number below 1")
    config.loss.label_smoothing = smoothing
    config.model.variant = f"b{settings['train.model.params.conv_blocks']}"
    config.eval.batch_size = settings["train.validation.batch_size"]
    if settings["train.model.initialization"] not in INITIALIZATIONS:
        raise refuse(
            "train.model.initialization",
            settings["train.model.initialization"],
            " or ".join(map(repr, INITIALIZATIONS)),
        )
    if not settings["train.model.augmentations"]:
        config.augmentation.update(
            zoom_probability=0.0, flip_probability=0.0, rotate=False, brightness=0.0, contrast=0.0
        )
    _follow_schedule(config, settings, refuse)


def _check_method(settings: Mapping[str, Any], refuse: Refuse) -> None:
    """Refuses networks and ways of training that there are not here."""
    name, generator = settings["train.model.name"], settings["train.model.crop_generator"]
    if name != "efficientnet":
        raise refuse("train.model.name", name, "'efficientnet', the only network here")
    mode = settings["dataset.locations.mode"]
    if generator not in GENERATORS[mode]:
        expected = " or ".join(map(repr, GENERATORS[mode]))
        raise refuse("train.model.crop_generator", generator, expected)
    if settings["train.sampling.factor"] != 1:
        raise refuse(
            "train.sampling.factor", settings["train.sampling.factor"], "1: all cells train"
        )
    if settings["train.validation.frame"] != "val":
        raise refuse("train.validation.frame", settings["train.validation.frame"], "'val'")


def _follow_schedule(config: ConfigDict, settings: Mapping[str, Any], refuse: Refuse) -> None:
    key = "train.model.lr_schedule"
    named, epochs, rates = (settings[name] for name in (key, f"{key}.epoch", f"{key}.lr"))
    if named == "cosine":
        rates = cosine_rates(config.optimizer.learning_rate, epochs=config.train.epochs)
        epochs = list(range(len(rates)))
    elif named is not None:
        raise refuse(key, named, "'cosine', null, or lists called epoch and lr")
    elif epochs is None and rates is None:
        return
    elif epochs is None or rates is None or len(epochs) != len(rates):
        raise refuse(f"{key}.epoch", epochs, f"as many epochs as there are rates in lr ({rates})")
    elif epochs != sorted(set(epochs)):
        raise refuse(f"{key}.epoch", epochs, "ascending epochs")
    rates = [float(rate) for rate in rates]
    config.optimizer.schedule = ConfigDict(
        {"name": "by_epoch", "epochs": tuple(epochs), "rates": tuple(rates)}
    )


def cosine_rates(learning_rate: float, *, epochs: int) -> list[float]:
    """The rate of every epoch in DeepProfiler's schedule `cosine`.

    Five epochs of warm-up, learning_rate / 5, / 4, ... / 1, then half a cosine over all epochs.

    Args:
      learning_rate: The highest.
      epochs: Length of the training.

    Returns:
      One rate an epoch.
    """
    rising = [learning_rate / (WARM_UP_EPOCHS - t) for t in range(min(WARM_UP_EPOCHS, epochs))]
    falling = range(WARM_UP_EPOCHS, epochs)
    return rising + [0.5 * (1 + math.cos(math.pi * t / epochs)) * learning_rate for t in falling]


def follow_partition(config: ConfigDict, project: Project) -> None:
    """Takes over which cells train and which validate.

    Without `train.partition` the config keeps its own split.

    Args:
      config: Of any preset; changed in place.
      project: Has the configuration and the index.

    Raises:
      UserError: The partition is incomplete, or names a column or a value that is not there.
    """
    settings, refuse = project.settings("train"), _refusing(project)
    names = [f"train.partition.{name}" for name in ("split_field", "training", "validation")]
    column = settings[names[0]]
    sides = [[str(value) for value in settings[name] or ()] for name in names[1:]]
    if not column and not any(sides):
        return
    if not column or not sides[1]:
        missing = names[0] if not column else names[2]
        raise UserError(
            f"{project.config_file}, for 'train': {missing} is missing beside the other keys of "
            "train.partition"
        )
    found = sorted({value for value in project.column(column) if value})
    for name, values in zip(names[1:], sides, strict=True):
        for value in values:
            if value not in found:
                raise refuse(name, value, f"values of {column}{suggestion(value, found)}")
    training, validation = sides
    split = config.data.split
    if set(training) == set(validation):  # all data on both sides, as projects of one plate say
        if unused := sorted(set(found) - set(training)):
            raise refuse(
                names[1],
                training,
                f"other values than for validation, or all, {', '.join(unused)} as well",
            )
        split.scheme = "leave_cells_out"
    elif both := sorted(set(training) & set(validation)):
        raise refuse(names[1], both[0], "a value that is not in train.partition.validation as well")
    elif column == PLATE and (not training or {*training, *validation} == set(found)):
        split.update(scheme="leave_plates_out", plates=tuple(validation))
    else:
        split.update(
            scheme="column", column=column, training=tuple(training), validation=tuple(validation)
        )


def without_effect(project: Project, *, recipe: bool) -> list[str]:
    """Keys of the section `train` that a training does not follow, though they are there.

    Args:
      project: Has the configuration.
      recipe: Whether `follow_recipe` was used.

    Returns:
      Dotted keys, sorted.
    """
    followed = set(TRAIN) - set(UNUSED)
    if not recipe:
        followed -= set(RECIPE)
    given = flat_config(project.config)
    return sorted(key for key in given if key.startswith("train.") and key not in followed)


def _refusing(project: Project) -> Refuse:
    """Makes errors that say which key of which file cannot be followed."""
    file = project.config_file

    def refuse(key: str, value: Any, expected: str) -> UserError:
        return UserError(f"{file}, for 'train': {key} is {value!r}, {expected} expected")

    return refuse


def _check_cells(file: Path, settings: Mapping[str, Any], store: CellStore) -> None:
    """Compares what a network is to see with what was exported."""

    def conflict(key: str, value: Any, found: str) -> UserError:
        value = json.dumps(value)  # as the file has it
        return UserError(f"{file}, for 'train': dataset.locations.{key} is {value}, but {found}")

    mode, side = settings["dataset.locations.mode"], crop_side(settings)
    if side and store.side_px != side and not store.settings.get("imported"):
        key = "view_size" if mode == "full_image" else "box_size"
        px = store.side_px
        raise conflict(
            key, side, f"the cells of {store.folder} have {px} px: make it {px}, or export again"
        )
    masked = settings["dataset.locations.mask_objects"]
    applied = store.settings.get("masks") == "apply"
    if masked and not applied and MASK not in store.channels:
        raise conflict(
            "mask_objects",
            True,
            f"{store.folder} has no masks: make it false, or export with --masks keep",
        )
    if applied and not masked:
        raise conflict(
            "mask_objects",
            False,
            f"the cells of {store.folder} are masked: make it true, or export with --masks none",
        )


def _check_old_keys(project: Project, settings: Mapping[str, Any], refuse: Refuse) -> None:
    """Keys of DeepProfiler before 0.3 that would decide something else than those of today."""
    for key, value in flat_config(project.config).items():
        if key.startswith(REFUSED):
            raise refuse(key, value, "no such key of DeepProfiler before 0.3, but train.partition,")
        today = key.replace("train.sampling.", "dataset.locations.")
        if key != today and today in settings and value != settings[today]:
            raise refuse(key, value, f"{settings[today]!r} as in {today}, or no such key,")
