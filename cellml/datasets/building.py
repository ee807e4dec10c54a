"""Builds data sets on disk through tensorflow-datasets, all or nothing.

The only file that calls tensorflow-datasets outside of the builders; imported when needed, since
that import takes a second.
"""

import contextlib
import importlib
import io
import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from cellml.data.nuclei_folders import DataError

BUILDERS = {
    "dsb2018": "cellml.datasets.dsb2018.dsb2018_dataset_builder",
    "nuclei_simulated": "cellml.datasets.nuclei_simulated.nuclei_simulated_dataset_builder",
    "screen_simulated": "cellml.datasets.screen_simulated.screen_simulated_dataset_builder",
}


def build(
    name: str,
    target: Path,
    *,
    config: Any = None,
    manual_dir: Path | None = None,
    download_dir: Path | None = None,
) -> Path:
    """Builds a data set as `target`, unless it is there.

    It is written into a hidden folder beside `target` and renamed when complete. A build that is
    interrupted leaves nothing, or (killed) a hidden folder that nobody reads. Of two simultaneous
    builds the one that is done first stays.

    Args:
      name: Key of BUILDERS.
      target: Folder to be; its parents are made.
      config: The builder's config.
      manual_dir: Folder with the source files.
      download_dir: Where downloads are kept.

    Returns:
      `target`.

    Raises:
      DataError: The source files are not what they should be.
    """
    if (target / "dataset_info.json").is_file():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    module = importlib.import_module(BUILDERS[name])
    scratch = Path(tempfile.mkdtemp(prefix=f".incomplete-{name}-", dir=target.parent))
    try:
        with _quiet():
            builder = module.Builder(data_dir=scratch, config=config, file_format="array_record")
            builder.download_and_prepare(
                download_dir=download_dir or scratch / "downloads",
                download_config=tfds.download.DownloadConfig(
                    manual_dir=manual_dir, try_download_gcs=False, num_shards=1
                ),
            )
        try:
            os.rename(builder.data_dir, target)
        except OSError:
            if not (target / "dataset_info.json").is_file():
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return target


def read_index(folder: Path) -> Any:
    """Returns the index of a built data set: what its builder says of every record."""
    with _quiet():
        return tfds.builder_from_directory(folder).info.metadata["cases"]


def open_split(folder: Path, split: str) -> tuple[Any, dict[str, Callable[[Any], Any]]]:
    """Returns the random-access records of a split, and what makes plain values of their fields.

    Raises:
      DataError: The folder holds no data set.
    """
    if not (folder / "dataset_info.json").is_file():
        raise DataError(f"{folder}: holds no data set (any more)")
    with _quiet():
        builder = tfds.builder_from_directory(folder)
        plain = {name: _plain(feature) for name, feature in builder.info.features.items()}
        return builder.as_data_source(split=split), plain


def _plain(feature: Any) -> Callable[[Any], Any]:
    """Classes and texts become strings, other scalars Python numbers, the rest arrays."""
    if isinstance(feature, tfds.features.ClassLabel):
        names = feature.names
        return lambda value: names[int(value)]
    if isinstance(feature, tfds.features.Text):
        return lambda value: value.decode() if isinstance(value, bytes) else str(value)
    if feature.shape == ():
        return lambda value: np.asarray(value).item()
    return np.asarray


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps tensorflow-datasets' progress bars, log lines and warnings from the user's screen."""
    logger = logging.getLogger("absl")
    level = logger.level
    tfds.disable_progress_bar()
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
