"""Features as DeepProfiler writes them: `<folder>/<Plate>/<Well>/<Site>.npz`.

Each file has `features` [n d], `locations` [n 2] as (x, y) in pixels, and `metadata`, a dictionary
that NumPy pickles. A pickle may run any code when it is read. Here only plain values can come out
of it: whatever else it names is refused, and its metadata are then missing. Our files have `status`
besides, a `cellml.data.crops.Status` each.
"""

import io
import pickle
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Shaped, UInt8

from cellml.data.feature_files import SiteKey, iterate_sites, read_feature_facts
from cellml.data.plates import Tick
from cellml.data.wells import normalise_well
from cellml.data.writers import atomic
from cellml.errors import UserError

MODEL = "Metadata_Model"
PLAIN = (str, bytes, bool, int, float, np.generic, type(None))

_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    **{
        (f"numpy.{core}.multiarray", name): value.__reduce__()[0]
        for core in ("core", "_core")
        for name, value in (("_reconstruct", np.zeros(1)), ("scalar", np.float64(0)))
    },
}
"""What the pickle of an array of plain values names, under NumPy 1 and 2. Handed out from here,
so that nothing is imported."""


class SiteFeatures(NamedTuple):
    """What a file holds.

    Attributes:
      features: One row a cell.
      locations_yx: Centres in pixels; none, if the file has none.
      metadata: Texts; None where they could not be read safely.
      status: A `cellml.data.crops.Status` each, if the file has them.
    """

    features: Float[np.ndarray, "n d"]
    locations_yx: Float[np.ndarray, "m 2"]
    metadata: dict[str, str] | None
    status: UInt8[np.ndarray, " n"] | None = None


def npz_path(folder: Path, key: SiteKey) -> Path:
    """Where the features of a plate, well and site are, whether or not the file is there."""
    plate, well, site = key
    return folder / plate / well / f"{site}.npz"


def npz_plates(folder: Path) -> tuple[str, ...]:
    """Names of the plates that have a file, sorted."""
    return tuple(sorted({path.parent.parent.name for path in folder.glob("*/*/*.npz")}))


def npz_sites(folder: Path, plate: str) -> list[tuple[SiteKey, Path]]:
    """Lists the files of a plate, by well and site.

    Args:
      folder: Of all plates.
      plate: Name of its folder.

    Returns:
      Plate, well (normalised) and site of every file.

    Raises:
      UserError: A folder is not named after a well, or a field has two files.
    """
    found: dict[SiteKey, Path] = {}
    for path in sorted((folder / plate).glob("*/*.npz")):
        if path.name.startswith("."):
            continue
        try:
            key = plate, normalise_well(path.parent.name), path.stem
        except ValueError as error:
            raise UserError(f"{path}: {error}") from error
        if key in found:
            raise UserError(f"{path}: the same field as {found[key]}")
        found[key] = path
    return sorted(found.items(), key=lambda item: (item[0][1], len(item[0][2]), item[0][2]))


def write_npz(
    folder: Path,
    key: SiteKey,
    features: Float[np.ndarray, "n d"],
    locations_yx: Float[np.ndarray, "n 2"],
    metadata: Mapping[str, str],
    status: UInt8[np.ndarray, " n"] | None = None,
) -> Path:
    """Writes the cells of one field, whole or not at all.

    Args:
      folder: Of all plates.
      key: Plate, well and site.
      features: One row a cell.
      locations_yx: Centres in pixels.
      metadata: Texts; plate, well and site are added.
      status: A `cellml.data.crops.Status` each, if known.

    Returns:
      The file.

    Raises:
      UserError: It cannot be written.
    """
    keys = zip(("Metadata_Plate", "Metadata_Well", "Metadata_Site"), key, strict=True)
    # A pickle depends on which equal texts are one object: interned, all of them are.
    facts = {sys.intern(str(k)): sys.intern(str(v)) for k, v in {**metadata, **dict(keys)}.items()}
    extra: dict[str, Any] = {} if status is None else {"status": status}
    path = npz_path(folder, key)
    with atomic(path) as temporary:
        np.savez_compressed(
            temporary,
            features=features.astype(np.float32, copy=False),
            metadata=np.array(facts, dtype=object),
            locations=np.ascontiguousarray(locations_yx[:, ::-1], np.float32),
            **extra,
        )
    return path


def export_npz(features: Path, folder: Path, plate: str, tick: Tick) -> int:
    """Writes the NPZ files of a plate of Parquet features; those that are there are written again.

    Args:
      features: Folder of `cellml.data.feature_files`.
      folder: Where the NPZ files go.
      plate: One that is finished.
      tick: Called after every field.

    Returns:
      Number of fields.
    """
    made_by = read_feature_facts(features, plate).made_by
    fields = 0
    for key, rows, values in iterate_sites(features, plate):
        first = {name: value for name, value in rows.slice(0, 1).to_pylist()[0].items() if value}
        texts = {name: value for name, value in first.items() if isinstance(value, str)}
        texts = {name: texts[name] for name in texts if name not in ("plate", "well", "site")}
        if "treatment" in texts:
            texts.setdefault("Metadata_treatment", texts.pop("treatment"))
        centres = np.stack([rows["y_px"].to_numpy(), rows["x_px"].to_numpy()], axis=1)
        texts[MODEL] = str(made_by.get("model", "cellml"))
        status = rows["status"].to_numpy().astype(np.uint8)
        write_npz(folder, key, values, centres, texts, status)
        fields += 1
        tick()
    return fields


def read_npz(path: Path) -> SiteFeatures:
    """Reads one file; runs nothing that is in it.

    Raises:
      UserError: Not readable, or it has no table of features.
    """
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            names = set(file.files)
            name = "features" if "features" in names else "f"  # `f` until 2020
            if name not in names:
                raise UserError(
                    f"{path}: no 'features', found {', '.join(sorted(names)) or 'none'}"
                )
            features = _floats(path, name, file[name])
            locations = np.zeros((0, 2), np.float32)
            if "locations" in names:
                locations = _floats(path, "locations", file["locations"])[:, :2][:, ::-1]
            status = file["status"].astype(np.uint8) if "status" in names else None
        metadata = _read_metadata(path) if "metadata" in names else {}
    except (OSError, ValueError, zipfile.BadZipFile, EOFError, KeyError) as error:
        raise UserError(f"{path}: no readable NPZ of features ({error})") from error
    if status is not None and status.shape != features.shape[:1]:
        raise UserError(f"{path}: {status.size} status of {len(features)} cells")
    return SiteFeatures(features, locations, metadata, status)


def _floats(path: Path, name: str, array: Shaped[np.ndarray, "..."]) -> Float[np.ndarray, "n d"]:
    if array.ndim != 2 or array.dtype.kind not in "fiu":
        raise UserError(
            f"{path}: {name} is {array.dtype} {array.shape}, a table of numbers expected"
        )
    return array.astype(np.float32, copy=False)


class _PlainUnpickler(pickle.Unpickler):
    """Knows the names in `_ALLOWED` alone."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        """Returns what a pickle names, or refuses it."""
        try:
            return _ALLOWED[module_name, global_name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module_name}.{global_name} is refused") from None


def _read_metadata(path: Path) -> dict[str, str] | None:
    with zipfile.ZipFile(path) as archive:
        member = io.BytesIO(archive.read("metadata.npy"))
    version = np.lib.format.read_magic(member)
    read = np.lib.format.read_array_header_1_0
    if version != (1, 0):
        read = np.lib.format.read_array_header_2_0
    dtype = read(member)[2]
    if dtype != np.dtype(object):
        return None
    try:
        value = _PlainUnpickler(member).load()
        value = value.item() if isinstance(value, np.ndarray) and value.size == 1 else value
    except Exception:  # a broken pickle raises anything at all
        return None
    if not isinstance(value, dict):
        return None
    if not all(type(k) is str and isinstance(v, PLAIN) for k, v in value.items()):
        return None
    return {k: _text(v) for k, v in value.items()}


def _text(value: object) -> str:
    """A value as a text; what is missing is empty."""
    if value is None or (isinstance(value, float | np.floating) and np.isnan(value)):
        return ""
    return str(value)
