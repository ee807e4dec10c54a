"""Writes a simulated screen as a DeepProfiler project.

inputs/config/screen.json
inputs/metadata/index.csv      one line a field
inputs/metadata/outlines.csv   one line a field
inputs/metadata/truth.csv      one line a treatment: mechanism, role, strength
inputs/images/<plate>/<plate>_<well>_s<site>_w<channel>.tif
inputs/locations/<plate>/<well>-<site>-Nuclei.csv
inputs/outlines/<plate>/<plate>_<well>_s<site>.png
"""

import csv
import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from jaxtyping import Int, UInt8
from PIL import Image
from scipy import ndimage

from cellml.data.screen_simulation import (
    CHANNELS,
    CONTROL,
    NO_MECHANISM,
    ScreenDesign,
    ScreenField,
    Well,
    field_id,
    list_treatments,
    list_wells,
    simulate_screen_field,
)
from cellml.data.writers import atomic, write_json

KEYS = ("Metadata_Plate", "Metadata_Well", "Metadata_Site")
INDEX = (
    *KEYS,
    *CHANNELS,
    "Metadata_batch",
    "Metadata_replicate",
    "Metadata_treatment",
    "Metadata_moa",
    "Metadata_role",
)
TRUTH = ("Metadata_treatment", "Metadata_moa", "Metadata_role", "strength")


def write_project(
    folder: str | Path,
    design: ScreenDesign | None = None,
    *,
    box_size: int = 96,
    with_cells: bool = True,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Renders a screen into a DeepProfiler project.

    Treatments of no mechanism have an empty Metadata_moa. The last plate is for validation, in a
    screen of one plate the same as for training.

    Args:
      folder: The project to be; files of the same names are replaced.
      design: The screen; None is the default design.
      box_size: Side of the single cells' crops in the configuration, px.
      with_cells: Whether to write the true locations and outlines; without, they are to be found.
      workers: Processes that render; the files are the same for any number.
      progress: Called with the number of fields that are written, and of all.

    Returns:
      `folder`.

    Raises:
      UserError: A file cannot be written.
    """
    folder, design = Path(folder), design or ScreenDesign()
    inputs = folder / "inputs"
    fields = [(well, site) for well in list_wells(design) for site in range(1, design.n_sites + 1)]
    write_json(inputs / "config" / "screen.json", project_config(design, box_size=box_size))
    truth = [(t.name, _moa(t.mechanism), t.role, t.strength) for t in list_treatments(design)]
    _write_rows(inputs / "metadata" / "truth.csv", TRUTH, truth)
    render = partial(_write_field, inputs, design, with_cells)
    with _pool(workers) as pool:
        done = pool.map(render, fields, chunksize=4) if pool else map(render, fields)
        for number, _ in enumerate(done, 1):
            if progress is not None:
                progress(number, len(fields))
    if with_cells:
        _write_rows(
            inputs / "metadata" / "outlines.csv",
            (*KEYS, "Outlines"),
            [(w.plate, w.well, s, f"{w.plate}/{field_id(w, s)}.png") for w, s in fields],
        )
    # Last: a project without it was not finished.
    _write_rows(inputs / "metadata" / "index.csv", INDEX, [_index_row(w, s) for w, s in fields])
    return folder


def project_config(design: ScreenDesign, *, box_size: int) -> dict[str, Any]:
    """Returns DeepProfiler's configuration of a screen, as the dissertation trained.

    Args:
      design: The screen.
      box_size: Side of the crops, px.

    Returns:
      JSON-able, with the sections dataset, prepare, train and profile.
    """
    plates = list(dict.fromkeys(well.plate for well in list_wells(design)))
    height, width = design.shape
    images = {"file_format": "tif", "bits": 16, "width": width, "height": height}
    model = {
        "name": "efficientnet",
        "crop_generator": "sampled_crop_generator",
        "augmentations": True,
        "metrics": ["accuracy", "top_k"],
        "epochs": 30,
        "initialization": "ImageNet",
        "params": {"learning_rate": 0.005, "batch_size": 32, "conv_blocks": 0},
        "lr_schedule": None,
    }
    return {
        "dataset": {
            "metadata": {"label_field": "Metadata_treatment", "control_value": CONTROL},
            "images": {"channels": list(CHANNELS), **images},
            "locations": {
                "mode": "single_cells",
                "box_size": box_size,
                "view_size": box_size,
                "mask_objects": False,
            },
        },
        "prepare": {
            "illumination_correction": {"down_scale_factor": 4, "median_filter_size": 24},
            "compression": {"implement": True, "scaling_factor": 1.0},
        },
        "train": {
            "partition": {
                "targets": ["Metadata_treatment"],
                "split_field": "Metadata_Plate",
                "training": plates[:-1] or plates,
                "validation": plates[-1:],
            },
            "model": model,
            "sampling": {"factor": 1, "cache_size": 15000, "workers": 2},
            "validation": {"frequency": 1, "top_k": 5, "batch_size": 32},
        },
        "profile": {
            "feature_layer": "block6a_activation",
            "checkpoint": "None",
            "batch_size": 32,
            "use_pretrained_input_size": 224,
        },
    }


def outlines(labels: Int[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
    """Returns 1 on the pixels of an object beside other pixels than its own, 0 elsewhere.

    What is left of two objects does not touch, not even at a corner.
    """
    beside = ndimage.minimum_filter(labels, 3) != ndimage.maximum_filter(labels, 3)
    return (beside & (labels > 0)).astype(np.uint8)


def _moa(mechanism: str) -> str:
    return "" if mechanism == NO_MECHANISM else mechanism


def _image_names(well: Well, site: int) -> list[str]:
    stem = field_id(well, site)
    return [f"{well.plate}/{stem}_w{channel + 1}.tif" for channel in range(len(CHANNELS))]


def _index_row(well: Well, site: int) -> tuple[Any, ...]:
    treatment = well.treatment
    facts = (well.batch, well.replicate, treatment.name, _moa(treatment.mechanism), treatment.role)
    return (well.plate, well.well, site, *_image_names(well, site), *facts)


@contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor | None]:
    """Processes, or None for this one; what is waiting is not begun after an error or Ctrl-C."""
    if workers == 1:
        yield None
        return
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _write_field(
    inputs: Path, design: ScreenDesign, with_cells: bool, place: tuple[Well, int]
) -> None:
    well, site = place
    field = simulate_screen_field(design, well, site)
    _write_images(inputs, well, site, field)
    if with_cells:
        _write_cells(inputs, well, site, field)


def _write_images(inputs: Path, well: Well, site: int, field: ScreenField) -> None:
    for channel, name in enumerate(_image_names(well, site)):
        plane = np.ascontiguousarray(field.image[..., channel])
        with atomic(inputs / "images" / name) as temporary:
            tifffile.imwrite(temporary, plane, photometric="minisblack", metadata=None)


def _write_cells(inputs: Path, well: Well, site: int, field: ScreenField) -> None:
    path = inputs / "locations" / well.plate / f"{well.well}-{site}-Nuclei.csv"
    header = ("Nuclei_Location_Center_X", "Nuclei_Location_Center_Y")
    _write_rows(path, header, [(f"{x:.3f}", f"{y:.3f}") for y, x in field.centres])
    path = inputs / "outlines" / well.plate / f"{field_id(well, site)}.png"
    with atomic(path) as temporary:
        Image.fromarray(outlines(field.labels)).save(temporary)


def _write_rows(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with atomic(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
