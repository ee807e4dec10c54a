"""`prepare`: illumination correction and compression of all images of a project.

Per plate, first `outputs/intensities/<plate>/<plate>.npz` (statistics over all its images, written
when they are complete), then `outputs/compressed/images/<plate>/<image>.png`, one by one. A killed
run goes on with the statistics that are complete and the images that are there.
"""

import functools
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from cellml.data.illumination import (
    begin_statistics,
    correct,
    illumination_function,
)
from cellml.data.painting_files import file_states, write_grey
from cellml.data.painting_project import COMPRESSED, INTENSITIES, Project
from cellml.data.plates import Progress, Tick, over_plates
from cellml.data.writers import atomic
from cellml.errors import UserError


def prepare(project: Project, *, workers: int = 1, progress: Progress | None = None) -> Project:
    """Corrects and compresses the images of a project, plate by plate.

    Args:
      project: With the sections `dataset` and `prepare` of its configuration.
      workers: Processes; each takes a plate at a time and one field of view into memory.
      progress: Counts every field twice: in the statistics, and when it is compressed.

    Returns:
      The project with its prepared images; as it was if the configuration turns compression off.

    Raises:
      UserError: An image is missing or damaged, differs in size or dtype from the others of its
        plate, or two images of a plate would get the same name.
    """
    settings = project.settings("prepare")
    if not settings["prepare.compression.implement"]:
        return project
    _check_names(project)
    fields = {plate: 2 * len(project.plate_rows(plate)) for plate in project.plates}
    work = functools.partial(_prepare_plate, project, settings)
    over_plates(work, fields, workers=workers, progress=progress)
    return prepared_project(project)


def prepared_project(project: Project) -> Project:
    """Returns the project with the images that `prepare` made.

    Raises:
      UserError: Some are not there.
    """
    prepared = project.with_images(prepared=True)
    for row in range(len(prepared)):
        for channel in prepared.channels:
            path = prepared.image_path(row, channel)
            if not path.is_file():
                raise UserError(f"{path}: no such image; `cellml profile prepare` makes it")
    return prepared


def _prepare_plate(project: Project, settings: dict[str, Any], plate: str, tick: Tick) -> None:
    rows = project.plate_rows(plate)
    made_by = _fingerprint(project, settings, rows)
    path = project.root / INTENSITIES / plate / f"{plate}.npz"
    facts = _read_facts(path, made_by)
    if facts is None:
        for image in (project.root / COMPRESSED / plate).glob("*.png"):
            image.unlink()  # made with other statistics
        facts = _plate_facts(project, settings, rows, tick)
        with atomic(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, made_by=made_by, channels=project.channels, **facts)
    else:
        for _ in rows:
            tick()
    _compress_plate(project, facts, settings, rows, tick)


def _plate_facts(
    project: Project, settings: dict[str, Any], rows: list[int], tick: Tick
) -> dict[str, Any]:
    factor = settings["prepare.illumination_correction.down_scale_factor"]
    row = rows[0]
    try:
        statistics = begin_statistics(project.image(row), down_scale_factor=factor)
        for row in rows:
            statistics.add(project.image(row))
            tick()
    except ValueError as error:
        raise UserError(f"{project.image_path(row, project.channels[0])}: {error}") from error
    scale = settings["prepare.compression.scaling_factor"]
    return {
        "histogram": statistics.histogram,
        "mean_image": statistics.thumbnails / statistics.count,
        "brightest": statistics.brightest(),
        "original_shape": np.asarray(statistics.shape),
        "prepared_shape": np.asarray([max(1, int(scale * n)) for n in statistics.shape]),
    }


def _compress_plate(
    project: Project, facts: dict[str, Any], settings: dict[str, Any], rows: list[int], tick: Tick
) -> None:
    prepared = project.with_images(prepared=True)
    height, width = (int(n) for n in facts["original_shape"])
    shape = int(facts["prepared_shape"][0]), int(facts["prepared_shape"][1])
    size = settings["prepare.illumination_correction.median_filter_size"]
    functions: list[np.ndarray] = []
    for row in rows:
        files = [prepared.image_path(row, channel) for channel in project.channels]
        if not all(file.is_file() for file in files):
            if not functions:
                functions = [
                    illumination_function(mean, (height, width), median_filter_size=size)
                    for mean in np.moveaxis(facts["mean_image"], -1, 0)
                ]
            image = project.image(row)
            for c, file in enumerate(files):
                if file.is_file():
                    continue
                brightest = float(facts["brightest"][c])
                plane = correct(image[..., c], functions[c], brightest=brightest, shape=shape)
                write_grey(file, plane)
        tick()


def _read_facts(path: Path, made_by: str) -> dict[str, Any] | None:
    try:
        with np.load(path) as facts:
            return dict(facts) if str(facts["made_by"]) == made_by else None
    except (OSError, ValueError, KeyError, EOFError):
        return None


def _fingerprint(project: Project, settings: dict[str, Any], rows: list[int]) -> str:
    """Of what decides a plate's images: settings, and name, size and time of every file."""
    files = [project.image_path(row, channel) for row in rows for channel in project.channels]
    facts = file_states(files)
    decisive = {key: value for key, value in settings.items() if key.startswith("prepare.")}
    return hashlib.sha256(json.dumps([decisive, facts], sort_keys=True).encode()).hexdigest()[:16]


def _check_names(project: Project) -> None:
    """As in DeepProfiler, an image keeps its name but not its folder."""
    prepared = project.with_images(prepared=True)
    seen: dict[Path, Path] = {}
    for row in range(len(project)):
        for channel in project.channels:
            source = project.image_path(row, channel)
            other = seen.setdefault(prepared.image_path(row, channel), source)
            if other != source:
                raise UserError(
                    f"{source} and {other} of plate {project.key(row)[0]} would both become "
                    f"{prepared.image_path(row, channel).name}; rename one"
                )
