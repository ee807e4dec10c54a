"""What a training of activity learns from: read once, and noted in its folder as digests.

A run goes on, or is scored again, with what it began with alone: a model that is kept while the
folds of its table are made anew would be scored on compounds that it has learned.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Integer
from ml_collections import ConfigDict

from cellml.data.assay_tables import AssayTable, read_assays
from cellml.data.digests import digest
from cellml.data.writers import write_json
from cellml.errors import UsageError, UserError
from cellml.experiment.activity_data import read_modalities
from cellml.tasks.activity import Modality
from cellml.tasks.activity_models import MODEL
from cellml.train import checkpoint
from cellml.train.loop import plain_config

RECORD = "trained_on.json"
"""In the folder of a training: digests of what it learns from."""
WHAT = {
    "compounds": "SMILES",
    "readouts": "readouts",
    "split": "split",
    "features": "features",
}
MAY_DIFFER = ("data.path", "data.features", "data.split.file", "data.cache", "data.workers")
"""Entries of a config that say where things are; their content is compared instead."""


class Inputs(NamedTuple):
    """Compounds, readouts and features as they were read.

    Attributes:
      table: The table.
      modalities: Of the features.
      features: Side by side, NaN where missing; None without files.
    """

    table: AssayTable
    modalities: tuple[Modality, ...]
    features: Float[np.ndarray, "n f"] | None


def read_inputs(
    config: ConfigDict, *, path: Path | None = None, features: Iterable[Path] | None = None
) -> Inputs:
    """Reads what a config names.

    Args:
      config: See `cellml.experiment.activity_presets`.
      path: Table instead of that of the config.
      features: Files of features, likewise.

    Returns:
      What was read.

    Raises:
      UserError, UsageError: A file cannot be read, or a column is missing.
    """
    data = config.data
    column = data.split.column
    table = read_assays(
        Path(data.path) if path is None else path,
        smiles_column=data.smiles_column or None,
        targets=list(data.targets) or None,
        ignore=[*data.ignore, *([column] if column and column not in data.ignore else [])],
    )
    files = list(map(Path, data.features) if features is None else features)
    return Inputs(table, *read_modalities(files, table.smiles))


def digests_of(inputs: Inputs, given: Integer[np.ndarray, " n"]) -> dict[str, str]:
    """What a training learns from, wherever its files are and whatever they are called.

    Args:
      inputs: From `read_inputs`.
      given: Parts of the compounds, from `cellml.experiment.activity_split.given_parts`.

    Returns:
      A hash of each entry of `WHAT`.
    """
    table, values = inputs.table, inputs.features
    columns = [json.dumps(modality.columns) for modality in inputs.modalities]
    return {
        "compounds": digest(table.smiles),
        "readouts": digest([json.dumps(table.names), table.labels.astype("<f4").tobytes()]),
        "split": digest([given.astype("<i8").tobytes()]),
        "features": digest([*columns, *([] if values is None else [values.tobytes()])]),
    }


def check_settings(config: ConfigDict, workdir: Path) -> None:
    """Checks, before anything is written, that a run that is there has these settings.

    Args:
      config: Of the training.
      workdir: Its folder, which may hold checkpoints or not be there.

    Raises:
      CheckpointMismatchError: An entry differs; the message names it.
    """
    counted = () if config.model.n_classes else ("model.n_classes",)  # the table says how many
    checkpoint.check_workdir(
        workdir, plain_config(config), may_differ=frozenset((*MAY_DIFFER, *counted))
    )


def is_begun(workdir: Path) -> bool:
    """Whether a folder holds a model, or checkpoints to go on from."""
    return bool(checkpoint.steps(workdir)) or (workdir / MODEL).is_file()


def check_digests(workdir: Path, found: Mapping[str, str], table: Path) -> None:
    """Checks that what is in a folder was trained on the same data.

    Args:
      workdir: The run's folder.
      found: From `digests_of`, now.
      table: For the message.

    Raises:
      UsageError: It was not, or did not note on what.
      UserError: The note cannot be read.
    """
    if not is_begun(workdir):
        return
    path = workdir / RECORD
    advice = "use another --out, or delete that folder to train anew"
    if not path.is_file():
        if checkpoint.steps(workdir):  # others train anew
            raise UsageError(
                f"{workdir}: holds a run that did not note what it was trained on ({RECORD} is "
                f"missing), so it cannot go on with {table}; {advice}"
            )
        return
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: no JSON ({error}); {advice}") from error
    if not isinstance(before, dict):
        raise UserError(f"{path}: found {before!r}, entries {', '.join(WHAT)} expected; {advice}")
    if changed := changed_data(before, found):
        raise UsageError(
            f"{workdir}: trained on other data than {table} and the options say now: other "
            f"{' and '.join(changed)}; {advice}"
        )


def changed_data(before: Mapping[str, Any], now: Mapping[str, str]) -> list[str]:
    """Names what differs between two of `digests_of`."""
    return [name for key, name in WHAT.items() if before.get(key) != now.get(key)]


def note_digests(workdir: Path, found: Mapping[str, str]) -> None:
    """Notes in a run's folder what it learns from, see `check_digests`."""
    write_json(workdir / RECORD, dict(found))
