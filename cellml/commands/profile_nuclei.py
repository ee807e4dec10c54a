"""Finds the nuclei of a project's fields: locations, and outlines for masks."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Int

from cellml.data.locations import write_locations
from cellml.data.painting_files import read_grey
from cellml.data.painting_project import INDEX_KEYS, LOCATIONS, METADATA, OUTLINES, Project
from cellml.data.tables import nuclei_table
from cellml.data.text_tables import suggestion, write_csv
from cellml.data.writers import remove_temporary, write_json, write_labels
from cellml.errors import UsageError, UserError
from cellml.experiment.model_predictors import load_predictor
from cellml.experiment.predictor import Predictor, segment_pixels

NUCLEAR = ("dna", "dapi", "hoechst", "nuc")
"""What names of channels with nuclei contain."""
RECORD = METADATA / "nuclei.json"
OUTLINES_TABLE = METADATA / "outlines.csv"


@dataclass(frozen=True)
class NucleiOptions:
    """How to find nuclei.

    Attributes:
      model: A shipped model or a weights file.
      channel: Where nuclei are; by default the first channel that is called like one of `NUCLEAR`.
      diameter_px: Typical diameter, if it is not the one that the model knows.
      grow_px: The mask of a cell is its nucleus and what lies within this distance and is not
        nearer to another nucleus.
      tile_px: As of `cellml segment`.
    """

    model: str = "nuclei"
    channel: str | None = None
    diameter_px: float | None = None
    grow_px: int = 10
    tile_px: int = 1024


@dataclass
class NucleiCounts:
    """What a run did: fields segmented, fields that had locations before, nuclei, failures."""

    fields: int = 0
    skipped: int = 0
    nuclei: int = 0
    failures: list[str] = field(default_factory=list)


def nuclear_channel(project: Project, wanted: str | None = None) -> str:
    """Returns the channel in which to look for nuclei.

    Raises:
      UsageError: The wanted one is none of the project's, or none is called like one of nuclei.
    """
    if wanted is not None:
        if wanted not in project.channels:
            close = suggestion(wanted, project.channels)
            raise UsageError(f"--nuclei-channel {wanted}: no such channel{close}")
        return wanted
    named = [c for c in project.channels if any(word in c.lower() for word in NUCLEAR)]
    if not named:
        listed = ", ".join(project.channels)
        raise UsageError(f"which channel shows nuclei? give --nuclei-channel (found: {listed})")
    return named[0]


def segment_project(
    project: Project,
    options: NucleiOptions,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> NucleiCounts:
    """Writes locations for every field that has none, and outlines where a project has none.

    A field's outlines are written before its locations: what has locations is done, and a killed
    run goes on behind it. Outlines are label images, all of them listed in outlines.csv at the end.

    Args:
      project: With its original images.
      options: See `NucleiOptions`.
      progress: Called with the number of fields done and of all.

    Returns:
      Counts; a field whose image cannot be read is a failure and stops no other.

    Raises:
      UsageError: No such channel or model, or locations were made with other settings.
    """
    channel = nuclear_channel(project, options.channel)
    if options.grow_px < 0:
        raise UsageError(f"--grow-px {options.grow_px}: 0 or more expected")
    if options.diameter_px is not None and not 1 <= options.diameter_px <= 2000:
        raise UsageError(f"--diameter-px {options.diameter_px:g}: 1 to 2000 expected")
    predictor = load_predictor(options.model)
    ours = _begin(project, options, predictor, channel)
    with_outlines = ours or not project.outline_files
    counts = NucleiCounts()
    for row in range(len(project)):
        progress(row, len(project))
        if project.locations_file(row).is_file():
            counts.skipped += 1
            continue
        try:
            counts.nuclei += _segment_field(
                project, row, channel, options, predictor, with_outlines
            )
            counts.fields += 1
        except UserError as error:
            counts.failures.append(str(error))
    if with_outlines:
        _list_outlines(project)
    return counts


def _begin(project: Project, options: NucleiOptions, predictor: Predictor, channel: str) -> bool:
    """Keeps what decides the result; True if the project's nuclei were begun by us before."""
    settings: dict[str, Any] = {
        **predictor.settings,
        "channel": channel,
        "diameter_px": options.diameter_px,
        "grow_px": options.grow_px,
        "tile_px": options.tile_px,
    }
    path = project.root / RECORD
    known = path.is_file()
    if known:
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UserError(f"{path}: no JSON ({error})") from error
        differing = [
            f"{key}: {before.get(key)} then, {settings.get(key)} now"
            for key in sorted(before.keys() | settings.keys())
            if before.get(key) != settings.get(key)
        ]
        if differing:
            raise UsageError(
                f"{project.root / LOCATIONS}: nuclei were found with other settings "
                f"({'; '.join(differing)}); use them again, or remove the folder and {RECORD.name}"
            )
    for folder in (LOCATIONS, OUTLINES):
        remove_temporary(project.root / folder)
    if not known and not project.outline_files:
        write_json(path, settings)
    return known


def _segment_field(
    project: Project,
    row: int,
    channel: str,
    options: NucleiOptions,
    predictor: Predictor,
    with_outlines: bool,
) -> int:
    pixels = read_grey(project.image_path(row, channel))[..., None]
    scale = 1.0 if options.diameter_px is None else predictor.diameter_px / options.diameter_px
    found = segment_pixels(predictor, pixels, scale=scale, tile_px=options.tile_px)
    plate, well, site = project.key(row)
    nuclei = nuclei_table("-".join((plate, well, site)), found.sums)
    if with_outlines:
        labels = grow_labels(found.labels, options.grow_px)
        write_labels(project.root / OUTLINES / _outline_name(project, row), labels)
    write_locations(project.root / LOCATIONS / plate / f"{well}-{site}-Nuclei.csv", nuclei)
    return len(nuclei)


def grow_labels(labels: Int[np.ndarray, "h w"], distance_px: int) -> Int[np.ndarray, "h w"]:
    """Gives every object the background within a distance that is nearest to it."""
    from skimage.segmentation import expand_labels

    if not distance_px:
        return labels
    return np.asarray(expand_labels(labels, distance_px)).astype(labels.dtype)


def _outline_name(project: Project, row: int) -> Path:
    plate, well, site = project.key(row)
    return Path(plate, f"{well}-{site}.tif")


def _list_outlines(project: Project) -> None:
    names = [_outline_name(project, row) for row in range(len(project))]
    there = [row for row, name in enumerate(names) if (project.root / OUTLINES / name).is_file()]
    columns = dict(zip(INDEX_KEYS, zip(*map(project.key, there), strict=True), strict=False))
    table = {name: pa.array(columns.get(name, ()), pa.string()) for name in INDEX_KEYS}
    table["Outlines"] = pa.array([names[row].as_posix() for row in there], pa.string())
    write_csv(project.root / OUTLINES_TABLE, pa.table(table))
