"""DeepProfiler's configuration file: one schema per command, so that none asks for another's keys.

Keys are dotted: `dataset.images.channels`. A command looks at the sections that it reads and at
the names of the others. Keys that DeepProfiler knows and cellml has no use for are accepted: the
size of the images (read from the files), the plugins' own parameters, paths, trackers.
"""

import difflib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from cellml.errors import UserError

REQUIRED = object()
"""Stands for a default where there is none."""


class Kind(NamedTuple):
    """What a value has to be: a check, and the words for it in a message."""

    fits: Callable[[Any], bool]
    words: str


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _list_of(fits: Callable[[Any], bool], value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(fits, value))


def _scalar(value: Any) -> bool:
    return isinstance(value, str) or _number(value)


def _text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


TEXT = Kind(_text, "a text")
FLAG = Kind(lambda v: isinstance(v, bool), "true or false")
WHOLE = Kind(lambda v: _whole(v) and v >= 0, "a whole number from 0")
POSITIVE = Kind(lambda v: _whole(v) and v > 0, "a whole number above 0")
NUMBER = Kind(lambda v: _number(v) and v >= 0, "a number from 0")
FACTOR = Kind(lambda v: _number(v) and v > 0, "a number above 0")
TEXTS = Kind(lambda v: _list_of(_text, v), "a list of texts")
VALUES = Kind(lambda v: _list_of(_scalar, v), "a list of values")
CONTROL = Kind(lambda v: _scalar(v) or _list_of(_scalar, v), "a value or a list of values")
BLOCKS = Kind(lambda v: _whole(v) and 0 <= v <= 7, "a whole number from 0 (B0) to 7 (B7)")
MODE = Kind(lambda v: v in ("single_cells", "full_image"), "'single_cells' or 'full_image'")
SCHEDULE = Kind(lambda v: v is None or _text(v), "'cosine', null, or lists called epoch and lr")
EPOCHS = Kind(lambda v: _list_of(lambda n: _whole(n) and n >= 0, v), "a list of epochs from 0")
RATES = Kind(lambda v: _list_of(lambda n: _number(n) and n > 0, v), "a list of numbers above 0")
CHECKPOINT = Kind(lambda v: v is None or _text(v), "a file name, or 'None' for ImageNet weights")


class Key(NamedTuple):
    """A key of a schema: what fits, and the value of a file that does not give it."""

    kind: Kind
    default: Any = REQUIRED


IMAGES = {
    "dataset.metadata.label_field": Key(TEXT, None),
    "dataset.metadata.control_value": Key(CONTROL, None),
    "dataset.images.channels": Key(TEXTS),
    "dataset.images.file_format": Key(TEXT, "tif"),
}
LOCATIONS = {
    "dataset.locations.mode": Key(MODE, "single_cells"),
    "dataset.locations.box_size": Key(POSITIVE, 128),
    "dataset.locations.view_size": Key(POSITIVE, None),
    "dataset.locations.mask_objects": Key(FLAG, False),
}
LABELLED = {"dataset.metadata.label_field": Key(TEXT)}
PREPARE = {
    "prepare.illumination_correction.down_scale_factor": Key(FACTOR, 4.0),
    "prepare.illumination_correction.median_filter_size": Key(POSITIVE, 24),
    "prepare.compression.implement": Key(FLAG, True),
    "prepare.compression.scaling_factor": Key(FACTOR, 1.0),
}
TRAIN = {
    "train.partition.targets": Key(TEXTS, None),
    "train.partition.split_field": Key(TEXT, None),
    "train.partition.training": Key(VALUES, None),
    "train.partition.validation": Key(VALUES, None),
    "train.model.name": Key(TEXT, "efficientnet"),
    "train.model.crop_generator": Key(TEXT, "sampled_crop_generator"),
    "train.model.augmentations": Key(FLAG, True),
    "train.model.metrics": Key(TEXTS, ["accuracy"]),
    "train.model.epochs": Key(POSITIVE, 30),
    "train.model.initialization": Key(TEXT, "ImageNet"),
    "train.model.lr_schedule": Key(SCHEDULE, None),
    "train.model.lr_schedule.epoch": Key(EPOCHS, None),
    "train.model.lr_schedule.lr": Key(RATES, None),
    "train.model.params.learning_rate": Key(FACTOR, 0.005),
    "train.model.params.batch_size": Key(POSITIVE, 32),
    "train.model.params.conv_blocks": Key(BLOCKS, 0),
    "train.model.params.label_smoothing": Key(NUMBER, 0.0),
    "train.sampling.factor": Key(FACTOR, 1.0),
    "train.sampling.cache_size": Key(POSITIVE, None),
    "train.sampling.workers": Key(POSITIVE, 1),
    "train.validation.frame": Key(TEXT, "val"),
    "train.validation.batch_size": Key(POSITIVE, 32),
    "train.validation.frequency": Key(POSITIVE, 1),
    "train.validation.top_k": Key(POSITIVE, 5),
}
PROFILE = {
    "profile.feature_layer": Key(TEXT, "block6a_activation"),
    "profile.checkpoint": Key(CHECKPOINT, None),
    "profile.batch_size": Key(POSITIVE, 32),
    "profile.use_pretrained_input_size": Key(POSITIVE, None),
}
SCHEMAS: dict[str, dict[str, Key]] = {
    "read": IMAGES,
    "prepare": IMAGES | PREPARE,
    "export": IMAGES | LOCATIONS | LABELLED,
    "train": IMAGES | LOCATIONS | LABELLED | TRAIN,
    "embed": IMAGES | LOCATIONS | PROFILE,
}
"""What each command of `cellml profile` needs to know; `read` is for looking at a project."""

SECTIONS = ("dataset", "prepare", "train", "profile", "paths")
ACCEPTED = {
    "dataset": "images.bits images.width images.height metadata.control_id locations.area_coverage",
    "prepare": "outlines",
    "train": "pretrained gpus",
    "train.model": "checkpoint_policy steps pretrained",
    "train.model.params": "feature_dim latent_dim epsilon_std pooling dropout_rate top_model "
    "online_label_smoothing online_lambda",
    "train.sampling": "alpha queue_size images locations locations_field field box_size "
    "mask_objects",
    "train.validation": "sample_first_crops",
    "profile": "gpus",
}
ACCEPTED_SECTIONS = ("paths.", "train.comet_ml.", "train.queueing.", "train.dset.")


def read_config(path: Path) -> dict[str, Any]:
    """Reads a configuration file as it is.

    Raises:
      UserError: Missing, no JSON, or no object at the top.
    """
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise UserError(f"{path}: no JSON ({error})") from error
    if not isinstance(config, dict):
        raise UserError(f"{path}: an object with the sections {', '.join(SECTIONS)} expected")
    return config


def check_config(config: Mapping[str, Any], command: str, *, source: Path) -> dict[str, Any]:
    """Checks what a command needs of a configuration.

    Args:
      config: As read.
      command: One of `SCHEMAS`.
      source: The file, for messages.

    Returns:
      A value for every dotted key of the command's schema, defaults filled in; `"None"` as a
      checkpoint becomes None, and numbers that need not be whole are floats.

    Raises:
      UserError: Everything that is unknown, missing or of the wrong kind, in one line.
      ValueError: There is no such command.
    """
    if command not in SCHEMAS:
        raise ValueError(f"command {command!r}: expected one of {', '.join(SCHEMAS)}")
    schema = SCHEMAS[command]
    given = flat_config(config)
    faults = [*_unknown(given, config, schema), *_unfit(given, schema)]
    for key, (_, default) in schema.items():
        if default is REQUIRED and key not in given:
            faults.append(f"{key} is missing")
    if faults:
        raise UserError(f"{source}, for '{command}': {'; '.join(faults)}")
    settings = {key: given.get(key, entry.default) for key, entry in schema.items()}
    for key, (kind, _) in schema.items():
        if kind in (NUMBER, FACTOR):
            settings[key] = float(settings[key])  # JSON writes 1.0 as 1
    if settings.get("profile.checkpoint") == "None":
        settings["profile.checkpoint"] = None
    return settings


def flat_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Values of a configuration as it was read, by dotted key."""
    return dict(_flatten(config))


def _flatten(section: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in section.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _unknown(
    given: Mapping[str, Any], config: Mapping[str, Any], schema: Mapping[str, Key]
) -> Iterator[str]:
    for section in config:
        if section not in SECTIONS:
            yield f"unknown section {section!r}{_closest(section, SECTIONS)}"
    read = {key.split(".")[0] for key in schema}
    known = {key for entries in SCHEMAS.values() for key in entries}
    known |= {f"{section}.{key}" for section, keys in ACCEPTED.items() for key in keys.split()}
    for key in given:
        if key.split(".")[0] not in read or key in known or key.startswith(ACCEPTED_SECTIONS):
            continue
        yield f"unknown key {key}{_closest(key, known)}"


def _unfit(given: Mapping[str, Any], schema: Mapping[str, Key]) -> Iterator[str]:
    for key, (kind, default) in schema.items():
        if key in given and not kind.fits(given[key]) and given[key] is not default:
            yield f"{key} is {json.dumps(given[key])}, {kind.words} expected"


def _closest(name: str, known: Any) -> str:
    close = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.7)
    return f" (did you mean {close[0]}?)" if close else ""
