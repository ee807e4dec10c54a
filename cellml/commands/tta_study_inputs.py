"""What the study of test-time augmentation works on: checkpoints and images."""

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from cellml.commands.tta_folders import is_version_folder, open_versions, read_versions
from cellml.commands.tta_study_scores import StudyModel
from cellml.data.nuclei_folders import list_cases, read_case
from cellml.errors import UsageError, UserError
from cellml.tasks.instances import KIND
from cellml.tasks.nucleus_models import (
    Copies,
    copies_of_labels,
    load_nucleus_model,
    predict_image,
)
from cellml.weights.registry import NUCLEI, model_names


class FolderSource(Sequence[dict[str, Any]]):
    """Records of a folder with images/ and labels/, or in Kaggle's layout, read when asked for."""

    def __init__(self, folder: str | Path):
        """Lists the folder; raises UserError if it has neither layout."""
        self._cases = list_cases(folder)

    def __len__(self) -> int:
        """Returns the number of images."""
        return len(self._cases)

    def __getitem__(self, index: int) -> dict[str, Any]:  # type: ignore[override]
        """Returns id, image, labels and modality of one image."""
        return read_case(self._cases[index])._asdict()


class _Rows(Sequence[dict[str, Any]]):
    """Some rows of a source."""

    def __init__(self, source: Sequence[dict[str, Any]], rows: Sequence[int]):
        self._source, self._rows = source, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, Any]:  # type: ignore[override]
        return self._source[self._rows[index]]


def find_checkpoints(groups: Sequence[str]) -> list[tuple[str, int, str]]:
    """The checkpoints of "name=path" groups.

    Args:
      groups: See `run`.
    Returns:
      Group, epoch and path (or name of a shipped model) of each, by group and then by epoch. The
      path is a folder where it holds predictions made elsewhere.
    Raises:
      UsageError: Not of that form, a group given twice, a path that holds no checkpoint, or two
        checkpoints of a group with one epoch.
    """
    if not groups:
        raise UsageError("--group NAME=PATH: at least one expected")
    found: list[tuple[str, int, str]] = []
    for text in groups:
        name, separator, path = text.partition("=")
        if not (name and separator and path):
            raise UsageError(f"--group {text!r}: expected NAME=PATH")
        if name in {group for group, *_ in found}:
            raise UsageError(f"--group {name}: given twice")
        own = sorted((_epoch(file), str(file)) for file in _files(name, path))
        for (epoch, file), (following, other) in pairwise(own):
            if epoch == following:
                raise UsageError(
                    f"--group {name}: the last number in a file's name is its epoch, and "
                    f"{Path(file).name} and {Path(other).name} have the same"
                )
        found += [(name, epoch, file) for epoch, file in own]
    return found


def _files(name: str, text: str) -> list[Path]:
    """The checkpoints of a group: weights files, or folders of predictions by transform."""
    path = Path(text)
    if is_version_folder(path):
        return [path]
    if path.is_dir():
        files = sorted(path.glob("*.safetensors")) or [
            folder for folder in sorted(path.iterdir()) if is_version_folder(folder)
        ]
        if not files:
            raise UsageError(
                f"--group {name}: no .safetensors file, and no folder of a transform, in {path}"
            )
        return files
    if text not in model_names(NUCLEI) and not path.is_file():
        raise UsageError(
            f"--group {name}: {path} is neither a file, nor a folder, nor a model of cellml "
            f"({', '.join(model_names(NUCLEI))})"
        )
    return [path]


def load_study_model(group: str, epoch: int, path: str, *, tta: str, chunk: int) -> StudyModel:
    """Loads one checkpoint.

    Args:
      group: Its group.
      epoch: Its epoch.
      path: Weights file, name of a shipped model, or folder of predictions by transform.
      tta: Preset of `cellml.tta`.
      chunk: Transformed copies predicted at once.

    Returns:
      The checkpoint, ready to predict.

    Raises:
      UserError: It cannot be read.
    """
    if is_version_folder(Path(path)):
        return _read_elsewhere(group, epoch, Path(path), tta)
    try:
        model = load_nucleus_model(path)
    except (ValueError, OSError) as error:
        raise UserError(str(error)) from error

    def predict(record: Mapping[str, Any]) -> Copies:
        return predict_image(model, np.asarray(record["image"]), transforms=tta, chunk=chunk)

    return StudyModel(group, Path(path).stem, epoch, predict, model.kind == KIND)


def _read_elsewhere(group: str, epoch: int, folder: Path, tta: str) -> StudyModel:
    """Predictions made elsewhere: a model that looks its answers up by the record's id."""
    versions = open_versions(folder, tta=tta)

    def predict(record: Mapping[str, Any]) -> Copies:
        name, shape = str(record["id"]), np.shape(record["labels"])
        labels = read_versions(versions, name)
        if labels.shape[1:] != shape:
            raise UserError(
                f"{versions.files[name][0]}: {labels.shape[1]} x {labels.shape[2]} px found, "
                f"{shape[0]} x {shape[1]} expected as of the image"
            )
        return copies_of_labels(labels)

    return StudyModel(group, folder.name, epoch, predict, instances=True)


def check_predictions(
    checkpoints: Sequence[tuple[str, int, str]], source: Sequence[dict[str, Any]], *, tta: str
) -> None:
    """Refuses folders of predictions that lack a transform or an image, before anything is run.

    Args:
      checkpoints: From `find_checkpoints`; weights files among them are passed over.
      source: The images of the study.
      tta: Preset of `cellml.tta`.

    Raises:
      UsageError: Something is missing.
    """
    folders = [Path(path) for *_, path in checkpoints if is_version_folder(Path(path))]
    if not folders:
        return
    ids = _ids(source)
    for folder in folders:
        files = open_versions(folder, tta=tta).files
        missing = [name for name in ids if name not in files]
        if missing:
            raise UsageError(
                f"{folder}: no label image of '{missing[0]}'"
                + (f" and of {len(missing) - 1} more images" if len(missing) > 1 else "")
            )


def _ids(source: Sequence[dict[str, Any]]) -> list[str]:
    """Ids of all records; those of a folder are known without reading its images."""
    if isinstance(source, _Rows):
        every = _ids(source._source)
        return [every[row] for row in source._rows]
    if isinstance(source, FolderSource):
        return [case.id for case in source._cases]
    return [str(source[row]["id"]) for row in range(len(source))]


def _epoch(file: Path) -> int:
    numbers = re.findall(r"\d+", file.stem)
    return int(numbers[-1]) if numbers else 0


def open_source(
    data: str, split: str, data_dir: Path | None, manual_dir: Path | None
) -> Sequence[dict[str, Any]]:
    """Opens a data set of `cellml.datasets` by name, or a folder by path.

    Args:
      data: Name of a data set, or folder of images and labels.
      split: Split of the data set; a folder has none.
      data_dir: Where built data sets lie.
      manual_dir: Folder with the original files of the data set.

    Returns:
      Records with id, image, labels and modality.

    Raises:
      UserError: Neither, or it cannot be read.
    """
    from cellml.datasets import NUCLEI_DATASETS, load_source

    if data not in NUCLEI_DATASETS:
        if not Path(data).is_dir():
            raise UsageError(f"--data {data}: neither {' nor '.join(NUCLEI_DATASETS)} nor a folder")
        return FolderSource(data)
    return load_source(data, split, data_dir=data_dir, manual_dir=manual_dir)


def limited(source: Sequence[dict[str, Any]], limit: int | None) -> Sequence[dict[str, Any]]:
    """Thins a source out evenly; the first and the last record stay.

    Args:
      source: Records.
      limit: At most so many; None for all.

    Returns:
      The records that stay.
    """
    if limit is None or limit >= len(source):
        return source
    rows = np.linspace(0, len(source) - 1, limit).round().astype(int)
    return _Rows(source, rows.tolist())
