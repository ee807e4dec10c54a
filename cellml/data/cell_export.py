"""Cuts the single cells of a project and puts them into a store, field by field."""

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float, Shaped

from cellml.data.cell_store import CellStore, cells_schema
from cellml.data.cell_store_writer import (
    DTYPES,
    SHARD_BYTES,
    PlateWriter,
    begin_store,
    finish_store,
)
from cellml.data.crops import (
    MODES,
    NORMALISATIONS,
    Crops,
    Status,
    apply_masks,
    cut,
    cut_masks,
    normalise,
)
from cellml.data.image_regions import REGIONS, region_centres
from cellml.data.painting_files import file_states
from cellml.data.painting_project import Project
from cellml.data.plates import Progress, Tick, over_plates
from cellml.errors import UsageError, UserError

MASKS = ("none", "apply", "keep")


class ExportSettings(NamedTuple):
    """How cells are cut and stored.

    Attributes:
      side_px: Height and width of a cell.
      mode: One of `crops.MODES`.
      normalisation: One of `crops.NORMALISATIONS`; 0 to 1 is stretched over the dtype's range.
        `none` keeps intensities as they are (of sub-pixel crops, rounded).
      dtype: "uint8" or "uint16".
      masks: What to do with outlines: `none`, `apply` (other cells and background become 0), or
        `keep` (a last channel "mask": 0, or the dtype's maximum, as in DeepProfiler's strips).
      missing_locations: `error`, or `empty`: a field without a file has no cells.
      regions: One of `image_regions.REGIONS`: what is cut.
    """

    side_px: int
    mode: str = "exact"
    normalisation: str = "none"
    dtype: str = "uint8"
    masks: str = "none"
    missing_locations: str = "error"
    regions: str = "cells"

    def facts(self) -> dict[str, Any]:
        """What decides the cells of a store, JSON-able."""
        facts = self._asdict()
        if self.regions == "cells":  # as stores had it before there was anything else
            del facts["regions"]
        return facts


def write_store(
    project: Project,
    folder: str | Path,
    settings: ExportSettings | None = None,
    *,
    workers: int = 1,
    progress: Progress | None = None,
    shard_bytes: int = SHARD_BYTES,
    remake: bool = False,
    note: Callable[[str], None] | None = None,
) -> CellStore:
    """Writes all cells of a project into a store, or goes on where a killed run stopped.

    A field counts as done as long as its row of the index and the sizes and times of its files
    are the same: images, locations, and outlines where masks are made. From the first field of a
    plate that changed, its cells are cut again.

    Args:
      project: Fields with images and locations.
      folder: The store.
      settings: By default `export_settings(project)`.
      workers: Processes; each takes a plate at a time.
      progress: See `over_plates`.
      shard_bytes: Size of the files.
      remake: Whether to cut all cells again if the store there was made with other settings.
      note: Called with a sentence if they are.

    Returns:
      The finished store; rows are ordered by plate, then as in the project's index.

    Raises:
      UserError: An image or a locations file is missing or wrong.
      UsageError: Settings do not fit each other, the images, or the store that is there.
    """
    settings = export_settings(project) if settings is None else settings
    _check(settings, project)
    folder = Path(folder)
    mask = ("mask",) if settings.masks == "keep" else ()
    differing = begin_store(
        folder,
        channels=[*project.channels, *mask],
        side_px=settings.side_px,
        dtype=settings.dtype,
        made_by=settings.facts() | {"prepared": project.prepared},
        shard_bytes=shard_bytes,
        remake=remake,
    )
    if differing and note is not None:
        note(f"all cells are cut again, the store was made with other settings ({differing})")
    fields = {plate: len(project.plate_rows(plate)) for plate in project.plates}
    work = functools.partial(_write_plate, project, folder, settings)
    over_plates(work, fields, workers=workers, progress=progress)
    return finish_store(folder, list(fields))


def export_settings(project: Project, **changes: Any) -> ExportSettings:
    """Settings after the project's configuration: what is cut, its side, masks, the images' dtype.

    In mode full_image the field is covered by squares of `view_size`, or of the side that is asked
    for; without either there is one in its middle, as large as the first image allows.

    Args:
      project: Its first image is read for the dtype.
      **changes: Fields of `ExportSettings` that are to be otherwise.

    Returns:
      Exact crops with intensities as they are, unless changed.
    """
    config = project.settings("export")
    masks = "apply" if config["dataset.locations.mask_objects"] else "none"
    chosen: dict[str, Any] = {"side_px": crop_side(config), "masks": masks} | changes
    if config["dataset.locations.mode"] == "full_image":
        chosen["regions"] = "grid" if chosen["side_px"] else "centre"
        if not chosen["side_px"] and len(project):
            chosen["side_px"] = min(project.image(0).shape[:2])
    if "dtype" not in chosen:
        plain = chosen.get("normalisation", "none") == "none"
        chosen["dtype"] = str(project.image(0).dtype) if plain and len(project) else "uint8"
    return ExportSettings(**chosen)


def crop_side(settings: Mapping[str, Any]) -> int:
    """Side of the crops that a configuration asks for, as DeepProfiler takes it.

    Args:
      settings: Of the commands export or train.

    Returns:
      `box_size`, or `view_size` in mode full_image, where 0 stands for the whole image. (In mode
      single_cells DeepProfiler does not look at `view_size`.)
    """
    if settings["dataset.locations.mode"] == "full_image":
        return settings["dataset.locations.view_size"] or 0
    return settings["dataset.locations.box_size"]


def cut_field(
    project: Project, row: int, settings: ExportSettings
) -> tuple[Crops, Float[np.ndarray, "n 2"]]:
    """Cuts the cells of one field as they are stored.

    Args:
      project: Where the field is.
      row: Row of its index.
      settings: How to cut.

    Returns:
      Crops in the store's dtype with their status, and the centres (y, x).

    Raises:
      UserError: An image, locations or outlines are missing or wrong.
    """
    image = None
    if settings.regions == "cells":
        centres = _centres(project, row, settings)
    else:
        image = project.image(row)
        centres = region_centres(
            (image.shape[0], image.shape[1]),
            side_px=settings.side_px,
            regions=settings.regions,
            mode=settings.mode,
            where=str(project.image_path(row, project.channels[0])),
        )
    if not len(centres):
        channels = len(project.channels) + (settings.masks == "keep")
        empty = np.zeros((0, settings.side_px, settings.side_px, channels), settings.dtype)
        return Crops(empty, np.zeros(0, np.uint8)), centres
    image = project.image(row) if image is None else image
    if settings.normalisation == "none" and image.dtype.name not in _narrower(settings.dtype):
        path = project.image_path(row, project.channels[0])
        raise UserError(
            f"{path}: pixels of {image.dtype} found, {settings.dtype} expected (the store's dtype)"
        )
    pixels, status = cut(image, centres, side=settings.side_px, mode=settings.mode)
    masks = None
    if settings.masks != "none":
        masks, status = _masks(project, row, image.shape[:2], centres, status, settings)
    if settings.masks == "apply" and masks is not None:
        pixels = apply_masks(pixels, masks)
    pixels = _encode(normalise(pixels, settings.normalisation), settings)
    if settings.masks == "keep" and masks is not None:
        full = np.iinfo(settings.dtype).max
        last = (masks[..., None] * full).astype(settings.dtype)
        pixels = np.concatenate([pixels, last], axis=-1)
    return Crops(pixels, status), centres


def cell_rows(
    key: tuple[str, str, str],
    centres_yx: Float[np.ndarray, "n 2"],
    status: Shaped[np.ndarray, " n"],
    *,
    treatment: str | None = None,
    metadata: dict[str, str] | None = None,
    cell_ids: Sequence[int] | None = None,
) -> pa.Table:
    """Makes the rows that a store's index has for the cells of one field.

    Args:
      key: Plate, well and site.
      centres_yx: Pixels.
      status: A `crops.Status` each.
      treatment: Of the well, if known.
      metadata: Further columns, the same for all cells.
      cell_ids: Numbers of the cells; 1, 2, ... by default.

    Returns:
      A table with `cell_store.cells_schema(metadata)`.
    """
    n, metadata = len(centres_yx), metadata or {}
    same = dict(zip(("plate", "well", "site"), key, strict=True))
    same |= {"treatment": treatment, **metadata}
    values: dict[str, Any] = {name: [value] * n for name, value in same.items()}
    values["cell_id"] = list(range(1, n + 1)) if cell_ids is None else list(cell_ids)
    values |= {"y_px": centres_yx[:, 0], "x_px": centres_yx[:, 1], "status": status}
    schema = cells_schema(tuple(metadata))
    return pa.table({f.name: pa.array(values[f.name], f.type) for f in schema}, schema=schema)


def _write_plate(
    project: Project, folder: Path, settings: ExportSettings, plate: str, tick: Tick
) -> None:
    rows = project.plate_rows(plate)
    facts = project.index.take(rows).to_pylist()
    masks = settings.masks != "none"
    decisive = [
        json.dumps([fact, file_states(project.field_files(row, outlines=masks))], sort_keys=True)
        for row, fact in zip(rows, facts, strict=True)
    ]
    writer = PlateWriter(folder, plate, decisive)
    for i, (row, fact) in enumerate(zip(rows, facts, strict=True)):
        if i >= writer.done:
            crops, centres = cut_field(project, row, settings)
            metadata = {name: fact[name] for name in project.metadata_columns}
            table = cell_rows(
                project.key(row),
                centres,
                crops.status,
                treatment=fact["treatment"],
                metadata=metadata,
            )
            writer.add(crops.pixels, table)
        tick()
    writer.finish()


def _check(settings: ExportSettings, project: Project) -> None:
    allowed = {
        "mode": MODES,
        "normalisation": NORMALISATIONS,
        "dtype": DTYPES,
        "masks": MASKS,
        "missing_locations": ("error", "empty"),
        "regions": REGIONS,
    }
    for name, values in allowed.items():
        value = getattr(settings, name)
        if value not in values:
            raise UsageError(f"{name} is {value!r}, one of {', '.join(values)} expected")
    if settings.masks != "none" and settings.regions != "cells":
        raise UsageError(
            f"{project.config_file}: masks asked for (mask_objects), but in mode full_image there "
            "is no cell of whose outline one could be made; --masks none expected"
        )
    if settings.masks != "none" and not project.outline_files:
        raise UsageError(
            f"{project.root}: masks asked for, but there is no inputs/metadata/outlines.csv"
        )


def _narrower(dtype: str) -> tuple[str, ...]:
    return DTYPES[: DTYPES.index(dtype) + 1]


def _centres(project: Project, row: int, settings: ExportSettings) -> Float[np.ndarray, "n 2"]:
    if settings.missing_locations == "empty" and not project.locations_file(row).is_file():
        return np.zeros((0, 2), np.float32)
    return project.locations(row)


def _masks(
    project: Project,
    row: int,
    shape: tuple[int, ...],
    centres: Float[np.ndarray, "n 2"],
    status: Shaped[np.ndarray, " n"],
    settings: ExportSettings,
) -> tuple[Bool[np.ndarray, "n s s"], Shaped[np.ndarray, " n"]]:
    labels = project.outlines(row)
    plate, well, site = project.key(row)
    where = f"plate {plate}, well {well}, site {site}"
    if labels is None:
        raise UserError(f"{project.root}: no outlines of {where}")
    if labels.shape != shape:
        raise UserError(
            f"{project.root}: outlines of {where} are {labels.shape[0]} x {labels.shape[1]} px, "
            f"{shape[0]} x {shape[1]} expected as in the images"
        )
    masks, own = cut_masks(labels, centres, side=settings.side_px, mode=settings.mode)
    unlabelled = (own == 0) & (status != Status.OUTSIDE)
    return masks, np.where(unlabelled, np.uint8(Status.UNLABELLED), status)


def _encode(
    pixels: Float[np.ndarray, "n s s c"], settings: ExportSettings
) -> Shaped[np.ndarray, "n s s c"]:
    if settings.normalisation != "none":
        pixels = pixels * np.float32(np.iinfo(settings.dtype).max)
    return np.rint(pixels).astype(settings.dtype)
