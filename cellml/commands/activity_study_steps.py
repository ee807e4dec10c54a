"""Steps of a study of predictors: a fold that is trained once, and what all folds predict."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict
from rich.console import Console

from cellml import experiment
from cellml.commands import activity_fuse, activity_train
from cellml.commands.activity_held_out import gather_predictions
from cellml.commands.activity_inputs import FOLD, column_names
from cellml.data.prediction_tables import ROW
from cellml.data.writers import write_json
from cellml.errors import UsageError, UserError
from cellml.weights.store import file_sha256

FINISHED = "finished.json"
"""In the folder of a fold: of what data and settings it is, and whether it is trained."""
PLACES = ("path", "features", "cache", "workers")
"""Entries of `data` that say where things are rather than what they are."""


def train_fold(config: ConfigDict, folder: Path) -> bool:
    """Trains a fold, or goes on where it was stopped; one that is finished is left alone.

    Args:
      config: Of the training; its table, features and splits are files.
      folder: Of the fold.

    Returns:
      Whether there was anything to do.

    Raises:
      UsageError: The folder holds the training of other data or settings, or these do not fit.
      TrainingInterrupted: The process was asked to end; a checkpoint was written.
    """
    digest = config_digest(config)
    path = folder / FINISHED
    before = _record(path)
    if before and before.get("digest") != digest:
        raise UsageError(
            f"{folder}: holds a training with other data or settings; expected the same as now: "
            "take another folder for the run, or remove this one"
        )
    if before.get("finished"):
        return False
    write_json(path, {"digest": digest, "finished": False})
    try:
        experiment.run(config, folder)
    except (ValueError, FileNotFoundError) as error:
        raise UsageError(f"{folder}: {error}") from error
    write_json(path, {"digest": digest, "finished": True})
    return True


def config_digest(config: ConfigDict) -> str:
    """What a training depends on: its settings, and the content of its files.

    Args:
      config: Of the training.

    Returns:
      A hash that does not depend on where the files are.
    """
    plain = config.to_dict()
    data = plain["data"]
    split = data["split"]["file"]
    files = [data["path"], *data["features"], *([split] if split else [])]
    for name in PLACES:
        data.pop(name)
    data["split"].pop("file")
    text = json.dumps(plain, sort_keys=True, default=list)
    pieces = [text, *(file_sha256(path) for path in files)]
    return hashlib.sha256("\n".join(pieces).encode()).hexdigest()


def gather(folders: Sequence[Path], predictions: Path, validation: Path) -> None:
    """Joins what the folds of a predictor say of held-out and of validation compounds.

    Args:
      folders: Of the predictor's folds.
      predictions: File for the held-out compounds, with a column `fold`.
      validation: File for the validation compounds, with a column `run`, the fold their run tests.
    """
    gather_predictions(
        folders[0].parent,
        {folder.name: folder.name.removeprefix(activity_train.FOLDER) for folder in folders},
        predictions=predictions,
        validation=validation,
    )


def fuse_parts(
    files: Mapping[str, Path],
    validation: Mapping[str, Path],
    rule: str,
    out: Path,
    truth: Path,
    console: Console,
) -> None:
    """Late fusion of held-out compounds; stacking learns from validation compounds alone.

    Args:
      files: Predictions of each part, as `gather` writes them.
      validation: Likewise, of validation compounds.
      rule: Of `cellml activity fuse`.
      out: File to write.
      truth: Table of assays.
      console: Where to print.

    Raises:
      UserError: A file cannot be used.
    """
    stacks = rule == activity_fuse.STACKING
    fuse = activity_fuse.FuseOptions(
        [f"{name}={path}" for name, path in files.items()],
        out,
        rule,
        targets=assays_of(next(iter(files.values()))),
        validation=[f"{name}={path}" for name, path in validation.items()] if stacks else (),
        truth=truth if stacks else None,
    )
    activity_fuse.run(fuse, console)


def fuse_validation(files: Mapping[str, Path], rule: str, out: Path, console: Console) -> None:
    """The same of validation compounds, run by run; arguments as in `fuse_parts`, not stacking."""
    fuse = activity_fuse.FuseOptions(
        [f"{name}={path}" for name, path in files.items()],
        out,
        rule,
        targets=assays_of(next(iter(files.values()))),
        fold_column=activity_fuse.RUN,
    )
    activity_fuse.run(fuse, console)


def assays_of(path: Path) -> list[str]:
    """Assays of a file of predictions."""
    others = ("smiles", FOLD, activity_fuse.RUN, ROW)
    return [name for name in column_names(path) if name not in others]


def _record(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error}); remove the folder to train again") from error
    return found if isinstance(found, dict) else {}
