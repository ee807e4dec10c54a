"""Where `cellml profile aggregate` finds features: Parquet, NPZ, or tables of other programs."""

import hashlib
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import numpy as np

from cellml.commands.profile_fields import KEY_COLUMNS, TREATMENT, FeatureSource, Site
from cellml.commands.profile_table_source import TableSource
from cellml.data.feature_files import (
    SiteKey,
    feature_plates,
    features_path,
    iterate_sites,
    read_feature_facts,
    unfinished_plates,
)
from cellml.data.feature_npz import MODEL, npz_plates, npz_sites, read_npz
from cellml.data.painting_project import Project
from cellml.data.profile_columns import METADATA
from cellml.data.profile_joins import MetadataJoin
from cellml.errors import UsageError, UserError

TAIL_BYTES = 1 << 16


class ParquetSource:
    """Files of `cellml.data.feature_files`."""

    unit = "cells"

    def __init__(self, folder: Path, known: Collection[str] | None = None) -> None:
        """Reads what the files say of themselves.

        Args:
          folder: Of the files.
          known: Plates of the project; files of others are left out. None takes all.

        Raises:
          UserError: No plate is there, or one has other features than the first.
        """
        self.plates, notes = _known_plates(folder, feature_plates(folder), known)
        self.names = read_feature_facts(folder, self.plates[0]).names
        for plate in self.plates[1:]:
            if (names := read_feature_facts(folder, plate).names) != self.names:
                raise UserError(
                    f"{features_path(folder, plate)}: {len(names)} features found, not the "
                    f"{len(self.names)} of plate {self.plates[0]}"
                )
        self.what = f"features {folder}"
        if left := unfinished_plates(folder):
            notes.append(f"plates without finished features are left out: {', '.join(left)}")
        self.notes = tuple(notes)
        self._folder = folder

    def fingerprint(self, plate: str) -> str:
        """Size and end of the file, where statistics of its columns are."""
        return _fingerprint([features_path(self._folder, plate)])

    def sites(self, plate: str) -> Iterator[Site]:
        """Yields the fields of a plate."""
        names = read_feature_facts(self._folder, plate).names
        if names != self.names:
            raise UserError(f"{features_path(self._folder, plate)}: its features have changed")
        for key, rows, features in iterate_sites(self._folder, plate):
            first = rows.slice(0, 1).to_pylist()[0]
            texts = {k: v for k, v in first.items() if isinstance(v, str) and k not in _OWN}
            status = rows["status"].to_numpy().astype(np.uint8)
            yield Site(key, _named(texts, first["treatment"]), features, status)


class NpzSource:
    """Files of DeepProfiler, with what a project's index knows of the fields."""

    unit = "cells"

    def __init__(
        self, folder: Path, project: Project | None, known: Collection[str] | None = None
    ) -> None:
        """Reads the first file.

        Args:
          folder: Of the plates' folders.
          project: For treatments and metadata; without it those in the files are taken.
          known: As of `ParquetSource`.
        """
        found = npz_plates(folder)
        if not found:
            raise UserError(f"{folder}: neither Parquet features nor <plate>/<well>/<site>.npz")
        self.plates, notes = _known_plates(folder, found, known)
        path = npz_sites(folder, self.plates[0])[0][1]
        first = read_npz(path)
        model = (first.metadata or {}).get(MODEL, "") or "feature"
        self.names = tuple(f"{model}_{i}" for i in range(first.features.shape[1]))
        self.what = f"NPZ features {folder}"
        if first.metadata is None and project is None:
            notes.append(f"{path}: metadata hold more than plain values and were not read")
        self.notes = tuple(notes)
        self._folder = folder
        self._index = {} if project is None else _index_metadata(project)

    def fingerprint(self, plate: str) -> str:
        """Sizes and ends of the files, where their checksums are, and the metadata."""
        files = [path for _, path in npz_sites(self._folder, plate)]
        known = sorted((k, sorted(v.items())) for k, v in self._index.items() if k[0] == plate)
        return _fingerprint(files) + hashlib.sha256(repr(known).encode()).hexdigest()[:16]

    def sites(self, plate: str) -> Iterator[Site]:
        """Yields the fields of a plate."""
        for key, path in npz_sites(self._folder, plate):
            found = read_npz(path)
            if found.features.shape[1] != len(self.names):
                raise UserError(
                    f"{path}: {found.features.shape[1]} features found, {len(self.names)} expected "
                    f"as in plate {self.plates[0]}"
                )
            texts = {k: v for k, v in (found.metadata or {}).items() if k.startswith(METADATA)}
            texts = {k: v for k, v in texts.items() if k not in KEY_COLUMNS}
            yield Site(key, {**texts, **self._index.get(key, {})}, found.features, found.status)


def open_source(
    inputs: Sequence[str],
    project: Project | None,
    *,
    known_plates: Collection[str] | None = None,
    treatment_column: str = TREATMENT,
    features_regex: str | None = None,
    joins: Sequence[MetadataJoin] = (),
) -> FeatureSource:
    """Opens features by what they are.

    Args:
      inputs: A folder of Parquet or NPZ features, or tables.
      project: For the metadata of NPZ files.
      known_plates: Of folders: files of other plates are left out, with a note. None takes all.
      treatment_column: Of tables.
      features_regex: Likewise, as in `cellml.data.profile_tables.read_profiles`.
      joins: Likewise.

    Returns:
      The source.

    Raises:
      UserError: There is nothing there, or it cannot be read.
      UsageError: What is for tables is given with a folder.
    """
    folders = [path for path in inputs if Path(path).is_dir()]
    if not folders:
        return TableSource(
            inputs, treatment_column=treatment_column, features_regex=features_regex, joins=joins
        )
    if len(inputs) > 1:
        raise UserError(f"{folders[0]}: a folder of features is given alone, or tables are")
    if joins or features_regex is not None or treatment_column != TREATMENT:
        raise UsageError(
            f"{folders[0]}: --metadata, --features-regex and --treatment-column are for tables; "
            "features of a project have its metadata and treatments"
        )
    folder = Path(folders[0])
    if feature_plates(folder):
        return ParquetSource(folder, known_plates)
    return NpzSource(folder, project, known_plates)


_OWN = ("plate", "well", "site", "treatment", *KEY_COLUMNS)


def _known_plates(
    folder: Path, found: Sequence[str], known: Collection[str] | None
) -> tuple[tuple[str, ...], list[str]]:
    """The plates to take, and a note on those that are of no use."""
    plates = tuple(plate for plate in found if known is None or plate in known)
    others = [plate for plate in found if plate not in plates]
    if not plates:
        raise UserError(
            f"{folder}: features of {', '.join(others) or 'no plate'}, which the project does not "
            "have; `cellml profile embed` makes its own"
        )
    notes = []
    if others:
        notes.append(
            f"features of plates that are not in the project are left out: {', '.join(others)} "
            "(remove their files if they are of no use any more)"
        )
    if missing := sorted(set(known or ()) - set(found) - set(unfinished_plates(folder))):
        notes.append(f"plates of the project without features: {', '.join(missing)}")
    return plates, notes


def _named(texts: dict[str, str], treatment: str | None) -> dict[str, str]:
    named = {k if k.startswith(METADATA) else f"{METADATA}{k}": v for k, v in texts.items()}
    return named if treatment is None else {**named, TREATMENT: treatment}


def _index_metadata(project: Project) -> dict[SiteKey, dict[str, str]]:
    columns = ["plate", "well", "site", "treatment", *project.metadata_columns]
    found = {}
    for row in project.index.select(columns).to_pylist():
        texts = {k: v for k, v in row.items() if k not in _OWN and v is not None}
        key = row["plate"], row["well"], row["site"]
        found[key] = _named(texts, row["treatment"])
    return found


def _fingerprint(paths: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        try:
            with path.open("rb") as file:
                size = file.seek(0, 2)
                file.seek(max(0, size - TAIL_BYTES))
                digest.update(f"{path.name} {size} ".encode() + file.read())
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    return digest.hexdigest()
