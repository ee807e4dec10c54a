"""tensorflow-datasets builder of DSB2018 stage 1; neither building nor reading needs TensorFlow."""

import hashlib
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from cellml.data.duplicates import near_duplicate_groups
from cellml.data.nuclei_folders import Case, DataError, list_cases, read_case
from cellml.datasets.nuclei_features import index_row, nuclei_features

STORED_SPLIT = "stage1"
"""The one split on disk; tensorflow-datasets reserves the name 'all'."""


class Builder(tfds.core.GeneratorBasedBuilder):
    """Images, instance labels, modality and near-duplicate group of DSB2018 stage 1.

    All records are in one split, sorted by id; named splits are subsets of it, which
    `cellml.datasets.load_source` resolves. So no image is stored twice.

    From a `manual_dir` whatever is there is taken, in either layout of
    `cellml.data.nuclei_folders`. The download is checked: see `_checked_download`.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "First release."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "A folder in Kaggle's layout (stage1_train/<id>/images, stage1_train/<id>/masks) or with "
        "images/<id>.png, labels/<id>.png and index.csv."
    )

    url = "https://data.broadinstitute.org/bbbc/BBBC038/stage1_train.zip"
    n_cases = 670

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            description="Nuclei of the 2018 Data Science Bowl, stage 1, training part.",
            features=nuclei_features(np.uint8),
            homepage="https://bbbc.broadinstitute.org/BBBC038",
            license="CC0 1.0",
            citation="Caicedo et al. 2019, Nature Methods 16:1247-1253",
            metadata=tfds.core.MetadataDict(cases=[]),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager):
        try:
            manual_dir = Path(dl_manager.manual_dir)
        except AssertionError:  # no such folder, or an empty one: nobody named one
            cases = list_cases(self._checked_download(dl_manager))
            if len(cases) != self.n_cases:
                found = f"expected {self.n_cases} cases, found {len(cases)}"
                raise DataError(f"{self.url}: {found}") from None
        else:
            cases = list_cases(manual_dir)
        return {STORED_SPLIT: self._generate_examples(cases)}

    def _generate_examples(self, cases: list[Case]) -> Iterator[tuple[int, dict[str, Any]]]:
        groups = near_duplicate_groups(_Images(cases), [case.id for case in cases])
        rows = []
        for number, case in enumerate(cases):
            record = read_case(case)._asdict() | {"group": groups[case.id]}
            rows.append(index_row(record))
            yield number, record
        self.info.metadata["cases"] = rows

    def _checked_download(self, dl_manager: tfds.download.DownloadManager) -> Path:
        """Downloads and unpacks; trusts the first download, insists on its hash afterwards.

        Size and SHA-256 of the first download are kept beside the downloads, in
        `stage1_train.zip.sha256`; later downloads into the same folder have to match. ZIP's own
        checksums are verified by unpacking, the number of cases by the caller.
        """
        archive = Path(dl_manager.download(self.url))
        with archive.open("rb") as file:
            found = f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {archive.stat().st_size}"
        record = Path(dl_manager.download_dir) / "stage1_train.zip.sha256"
        if not record.exists():
            record.write_text(f"{found}  {self.url}\n")
        expected = "  ".join(record.read_text().split()[:2])
        if found != expected:
            raise DataError(
                f"{archive}: sha256 and size are {found}, the first download had {expected} "
                f"({record})"
            )
        return _unpack(archive)


def _unpack(archive: Path) -> Path:
    """Unpacks beside the archive, once and all or nothing; (tfds' way needs TensorFlow)."""
    folder = archive.with_name(archive.name + ".unpacked")
    if folder.is_dir():
        return folder
    scratch = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=archive.parent))
    try:
        with zipfile.ZipFile(archive) as file:
            file.extractall(scratch)
        scratch.rename(folder)
    except (zipfile.BadZipFile, EOFError, zlib.error) as error:
        raise DataError(f"{archive}: is damaged: {error}; remove it to load it again") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return folder


class _Images:
    """Images of cases by row, read when asked for."""

    def __init__(self, cases: list[Case]):
        self._cases = cases

    def __getitem__(self, index: int, /) -> np.ndarray:
        return read_case(self._cases[index]).image

    def __len__(self) -> int:
        return len(self._cases)
