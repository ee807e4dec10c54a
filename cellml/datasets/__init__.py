"""Data sets with random access, built on first use: `load_source(name, split)`.

Data sets and their splits:

* `dsb2018`: 'all', 'train', 'validation', 'fluo', 'tissue', 'fluo_5/train', 'fluo_5/test',
  'fluo_15/cv1/train' ... 'fluo_15/cv6/test', 'fluo_30/...', and the same for 'tissue'; what they
  mean is said in `cellml.data.splits`. Each may be narrowed to one modality: 'train[tissue]'.
* `nuclei_simulated`: 'train', 'validation', 'test', narrowed likewise.
* `screen_simulated`: 'all' and 'plate/<name>'; its records are fields of a Cell Painting screen,
  see `cellml.datasets.screen_simulated`.

Data sets are built below `data_dir`, by default `$CELLML_DATA_DIR` or else `./data` in the current
folder; nothing is written elsewhere.
"""

import hashlib
import os
import re
from pathlib import Path
from typing import Any

from cellml.data.nuclei_folders import MODALITIES, list_cases
from cellml.data.splits import named_splits
from cellml.datasets.source import RecordSource
from cellml.errors import UserError

NUCLEI_DATASETS = ("dsb2018", "nuclei_simulated")
"""Their records have image, labels of nuclei, and modality."""

DATASETS = (*NUCLEI_DATASETS, "screen_simulated")

__all__ = ["DATASETS", "NUCLEI_DATASETS", "RecordSource", "default_data_dir", "load_source"]


def default_data_dir() -> Path:
    """Returns `$CELLML_DATA_DIR`, or `./data` where it is not set."""
    return Path(os.environ.get("CELLML_DATA_DIR") or "data")


def load_source(
    name: str,
    split: str,
    *,
    data_dir: str | Path | None = None,
    manual_dir: str | Path | None = None,
    **config: Any,
) -> RecordSource:
    """Opens one split of a data set; builds the data set if it is not there yet.

    Args:
      name: One of DATASETS.
      split: Name of a split, with or without '[<modality>]'; see the module's docstring.
      data_dir: Folder of built data sets.
      manual_dir: For dsb2018: folder with the images (see `cellml.data.nuclei_folders`) in place
        of the download. Each state of each folder is a data set of its own.
      **config: For nuclei_simulated: content ('fluorescence', 'fluorescence_16bit', 'histology' or
        'mixed'), sizes (of the three splits), shape and seed. For screen_simulated: the attributes
        of `cellml.data.screen_simulation.ScreenDesign`.

    Returns:
      The rows of the split.

    Raises:
      UserError: An unknown data set, split or setting, or source files that are damaged; the
        message names it and, where there is a choice, what is known.
    """
    if name not in DATASETS:
        raise UserError(f"unknown data set {name!r}; known are {', '.join(DATASETS)}")
    split, modality = _parse(split)
    root = Path(data_dir) if data_dir is not None else default_data_dir()
    if modality is not None and name not in NUCLEI_DATASETS:
        raise UserError(f"{name} has no modalities to choose from: [{modality}]")
    source = LOADERS[name](split, root.absolute(), manual_dir, config)
    if modality is None:
        return source
    return source.select(case["id"] for case in source.cases if case["modality"] == modality)


def _parse(split: str) -> tuple[str, str | None]:
    match = re.fullmatch(r"([^\[\]]+)(?:\[(\w+)\])?", split)
    if not match or (match[2] and match[2] not in MODALITIES):
        raise UserError(
            f"split {split!r} is not of the form <name> or <name>[<modality>] with a modality of "
            f"{', '.join(MODALITIES)}"
        )
    return match[1], match[2]


def _load_dsb2018(split: str, root: Path, manual_dir: str | Path | None, config: Any):
    from cellml.datasets import building  # tfds is slow to import

    if config:
        raise UserError(f"dsb2018 has no setting {sorted(config)[0]!r}")
    known = _known_dsb2018_splits()
    if split not in known:
        raise UserError(f"unknown split {split!r} of dsb2018; known are {', '.join(known)}")
    manual_dir = Path(manual_dir).absolute() if manual_dir is not None else None
    origin = f"folder-{_fingerprint(manual_dir)}" if manual_dir is not None else "bbbc038"
    folder = building.build(
        "dsb2018",
        root / "dsb2018" / "1.0.0" / origin,
        manual_dir=manual_dir,
        download_dir=root / "downloads",
    )
    cases = building.read_index(folder)
    splits = named_splits(
        {case["id"]: case["modality"] for case in cases},
        {case["id"]: case["group"] for case in cases},
    )
    return RecordSource(folder, "stage1", range(len(cases)), cases).select(splits[split])


def _load_simulated(split: str, root: Path, manual_dir: str | Path | None, config: Any):
    from cellml.datasets import building
    from cellml.datasets.nuclei_simulated import nuclei_simulated_dataset_builder as builder

    if manual_dir is not None:
        raise UserError("nuclei_simulated is rendered, not read: it takes no manual_dir")
    if split not in builder.SPLITS:
        known = ", ".join(builder.SPLITS)
        raise UserError(f"unknown split {split!r} of nuclei_simulated; known are {known}")
    try:
        made = builder.make_config(**config)
    except (TypeError, ValueError) as error:
        raise UserError(f"nuclei_simulated: {error}") from error
    folder = root / "nuclei_simulated" / "1.0.0" / made.name
    building.build("nuclei_simulated", folder, config=made)
    cases = building.read_index(folder)[split]
    return RecordSource(folder, split, range(len(cases)), cases)


def _load_screen(split: str, root: Path, manual_dir: str | Path | None, config: Any):
    from cellml.datasets import building
    from cellml.datasets.screen_simulated import screen_simulated_dataset_builder as builder

    if manual_dir is not None:
        raise UserError("screen_simulated is rendered, not read: it takes no manual_dir")
    try:
        made = builder.make_config(**config)
    except (TypeError, ValueError) as error:
        raise UserError(f"screen_simulated: {error}") from error
    known = builder.split_names(made.design)
    if split not in known:
        raise UserError(
            f"unknown split {split!r} of screen_simulated; known are {', '.join(known)}"
        )
    folder = root / "screen_simulated" / "1.0.0" / made.name
    building.build("screen_simulated", folder, config=made)
    cases = building.read_index(folder)[builder.STORED]
    source = RecordSource(folder, builder.STORED, range(len(cases)), cases)
    if split == "all":
        return source
    return source.select(case["id"] for case in cases if split == f"plate/{case['plate']}")


LOADERS = {
    "dsb2018": _load_dsb2018,
    "nuclei_simulated": _load_simulated,
    "screen_simulated": _load_screen,
}


def _known_dsb2018_splits() -> list[str]:
    return list(named_splits({}, {}))


def _fingerprint(folder: Path) -> str:
    """Hashes names, sizes and times of the files that would be read, and the folder's name."""
    digest = hashlib.sha1(str(folder).encode())
    for case in list_cases(folder):
        for path in (case.image, *case.labels):
            status = path.stat()
            digest.update(f"{path.name} {status.st_size} {status.st_mtime_ns}\n".encode())
        digest.update(str(case.modality).encode())
    return digest.hexdigest()[:12]
