"""Where `cellml profile aggregate` finds features: Parquet, NPZ, or tables of other programs."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, UInt8

from cellml.data.feature_files import (
    SiteKey,
    feature_plates,
    features_path,
    iterate_sites,
    read_feature_facts,
    read_feature_names,
    unfinished_plates,
)
from cellml.data.feature_npz import MODEL, npz_plates, npz_sites, read_npz
from cellml.data.painting_project import Project
from cellml.data.profile_tables import METADATA, ProfileTable, read_profiles
from cellml.errors import UserError
from cellml.profiling.aggregate import group_codes

TREATMENT = "Metadata_treatment"
KEY_COLUMNS = ("Metadata_Plate", "Metadata_Well", "Metadata_Site")
COUNT_COLUMNS = ("Metadata_n_cells", "Metadata_Cells_Count", "Metadata_Count_Cells")
TAIL_BYTES = 1 << 16


class Site(NamedTuple):
    """The cells of one field, or what a table has of it.

    Attributes:
      key: Plate, well and site; no site where a table has wells only.
      metadata: Texts of the field, named `Metadata_...`.
      features: One row a cell; NaN is a missing number.
      status: A `cellml.data.crops.Status` each; None if not known.
      n_cells: Cells that a row of a table stands for; None: every row is a cell.
    """

    key: SiteKey
    metadata: dict[str, str]
    features: Float[np.ndarray, "n d"]
    status: UInt8[np.ndarray, " n"] | None = None
    n_cells: int | None = None


@runtime_checkable
class FeatureSource(Protocol):
    """Features of a screen, read plate by plate. Picklable.

    Attributes:
      plates: Names, sorted.
      names: Of the features.
      notes: For people.
      what: In words.
    """

    plates: tuple[str, ...]
    names: tuple[str, ...]
    notes: tuple[str, ...]
    what: str

    def fingerprint(self, plate: str) -> str:
        """A text that changes when the features of a plate do."""
        ...

    def sites(self, plate: str) -> Iterator[Site]:
        """Yields the fields of a plate, each once."""
        ...


class ParquetSource:
    """Files of `cellml.data.feature_files`."""

    def __init__(self, folder: Path) -> None:
        """Reads what the files say of themselves; UserError where they differ."""
        self.names = read_feature_names(folder)
        self.plates = feature_plates(folder)
        self.what = f"features {folder}"
        left = unfinished_plates(folder)
        self.notes = (f"plates without finished features are left out: {', '.join(left)}",)
        self.notes = self.notes if left else ()
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

    def __init__(self, folder: Path, project: Project | None) -> None:
        """Reads the first file.

        Args:
          folder: Of the plates' folders.
          project: For treatments and metadata; without it those in the files are taken.
        """
        self.plates = npz_plates(folder)
        if not self.plates:
            raise UserError(f"{folder}: neither Parquet features nor <plate>/<well>/<site>.npz")
        path = npz_sites(folder, self.plates[0])[0][1]
        first = read_npz(path)
        model = (first.metadata or {}).get(MODEL, "") or "feature"
        self.names = tuple(f"{model}_{i}" for i in range(first.features.shape[1]))
        self.what = f"NPZ features {folder}"
        self.notes = ()
        if first.metadata is None and project is None:
            self.notes = (f"{path}: metadata hold more than plain values and were not read",)
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


class TableSource:
    """Tables with a row a well, a site or a cell, as CellProfiler and pycytominer write them."""

    def __init__(self, paths: Sequence[str], *, treatment_column: str = TREATMENT) -> None:
        """Reads the tables.

        Args:
          paths: CSV, TSV or Parquet.
          treatment_column: Where the treatments are.
        """
        table = read_profiles(paths)
        for name in KEY_COLUMNS[:2]:
            table.column(name)  # raises, naming the closest
        self.names, self.notes = table.names, table.notes
        self.what = f"tables {', '.join(paths)}"
        self._table, self._treatment = table, treatment_column
        self._plate = table.column(KEY_COLUMNS[0])
        self.plates = tuple(sorted(set(self._plate.tolist())))

    def fingerprint(self, plate: str) -> str:
        """A checksum of the plate's rows."""
        part = self._table.take(self._plate == plate)
        text = part.metadata.to_csv(index=False).encode()
        return hashlib.sha256(text + np.ascontiguousarray(part.features).tobytes()).hexdigest()

    def sites(self, plate: str) -> Iterator[Site]:
        """Yields the fields, or the wells, of a plate."""
        part = self._table.take(self._plate == plate)
        wells, sites = part.column(KEY_COLUMNS[1]), _site_column(part)
        keys, code = group_codes(np.array([f"{w}\0{s}" for w, s in zip(wells, sites, strict=True)]))
        for number, text in enumerate(keys.tolist()):
            rows = np.flatnonzero(code == number)
            first = part.metadata.iloc[int(rows[0])].to_dict()
            texts = {str(k): str(v) for k, v in first.items() if k not in KEY_COLUMNS}
            if texts.get(self._treatment):
                texts[TREATMENT] = texts[self._treatment]
            well, _, site = text.partition("\0")
            count = _count(texts) if rows.size == 1 else None
            for name in COUNT_COLUMNS[:1]:
                texts.pop(name, None)
            values = part.features[rows].astype(np.float32)
            yield Site((plate, well, site), texts, values, n_cells=count)


def open_source(
    inputs: Sequence[str], project: Project | None, *, treatment_column: str = TREATMENT
) -> FeatureSource:
    """Opens features by what they are.

    Args:
      inputs: A folder of Parquet or NPZ features, or tables.
      project: For the metadata of NPZ files.
      treatment_column: Of tables.

    Returns:
      The source.

    Raises:
      UserError: There is nothing there, or it cannot be read.
    """
    folders = [path for path in inputs if Path(path).is_dir()]
    if not folders:
        return TableSource(inputs, treatment_column=treatment_column)
    if len(inputs) > 1:
        raise UserError(f"{folders[0]}: a folder of features is given alone, or tables are")
    folder = Path(folders[0])
    return ParquetSource(folder) if feature_plates(folder) else NpzSource(folder, project)


_OWN = ("plate", "well", "site", "treatment", *KEY_COLUMNS)


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


def _site_column(part: ProfileTable) -> np.ndarray:
    if KEY_COLUMNS[2] in part.metadata.columns:
        return part.column(KEY_COLUMNS[2])
    return np.full(len(part.features), "")


def _count(texts: dict[str, str]) -> int | None:
    for name in COUNT_COLUMNS:
        try:
            return int(float(texts.get(name, "")))
        except ValueError:
            continue
    return None


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
