"""What the study of test-time augmentation works on: checkpoints and images."""

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from cellml.commands.tta_study_scores import StudyModel
from cellml.data.nuclei_folders import list_cases, read_case
from cellml.errors import UsageError, UserError
from cellml.weights.registry import MODELS


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
      Group, epoch and path (or name of a shipped model) of each, by group and then by epoch.
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
        files = [Path(path)]
        if Path(path).is_dir():
            files = sorted(Path(path).glob("*.safetensors"))
            if not files:
                raise UsageError(f"--group {name}: no .safetensors file in {path}")
        elif path not in MODELS and not Path(path).is_file():
            raise UsageError(
                f"--group {name}: {path} is neither a file, nor a folder, nor a model of cellml "
                f"({', '.join(MODELS)})"
            )
        own = sorted((_epoch(file), str(file)) for file in files)
        for (epoch, file), (following, other) in pairwise(own):
            if epoch == following:
                raise UsageError(
                    f"--group {name}: the last number in a file's name is its epoch, and "
                    f"{Path(file).name} and {Path(other).name} have the same"
                )
        found += [(name, epoch, file) for epoch, file in own]
    return found


def load_study_model(group: str, epoch: int, path: str, *, tta: str, chunk: int) -> StudyModel:
    """Loads one checkpoint.

    Args:
      group: Its group.
      epoch: Its epoch.
      path: Weights file, or name of a shipped model.
      tta: Preset of `cellml.tta`.
      chunk: Transformed copies predicted at once.

    Returns:
      The checkpoint, ready to predict.

    Raises:
      UserError: It cannot be read.
    """
    from cellml.tasks.semantic import labels_from_maps, load_segmenter
    from cellml.tasks.whole_image import predict_stack

    try:
        segmenter = load_segmenter(path)
    except (ValueError, OSError) as error:
        raise UserError(str(error)) from error
    return StudyModel(
        group=group,
        checkpoint=Path(path).stem,
        epoch=epoch,
        predict=lambda image: predict_stack(segmenter, image, transforms=tta, chunk=chunk),
        labels_from_maps=lambda maps: labels_from_maps(maps, segmenter.spec),
        foreground_min=segmenter.spec.foreground_min,
    )


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
    from cellml.datasets import DATASETS, load_source

    if data not in DATASETS:
        if not Path(data).is_dir():
            raise UsageError(f"--data {data}: neither {' nor '.join(DATASETS)} nor a folder")
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
