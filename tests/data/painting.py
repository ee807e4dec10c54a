"""A small DeepProfiler project for tests: odd sizes, lower-case wells, a plate called 007."""

import csv
import json
from pathlib import Path

import numpy as np
import tifffile

CHANNELS = ("DNA", "ER")
SHAPE = (41, 53)
FIELDS = [
    ("007", "a1", "1", "DMSO"),
    ("007", "a1", "2", "DMSO"),
    ("007", "B03", "1", "drug.tif@1"),
    ("P-2", "a1", "1", "DMSO"),
    ("P-2", "c12", "1", "drug.tif@1"),
]
CENTRES = [(20.25, 25.5), (3.0, 50.75), (33.4, 11.0)]


def field_image(row: int, *, shape=SHAPE, dtype=np.uint16) -> np.ndarray:
    rng = np.random.default_rng(row)
    y, x = np.mgrid[: shape[0], : shape[1]]
    top = np.iinfo(dtype).max
    planes = [
        top * (0.1 + 0.2 * (x + row) / shape[1] + 0.3 * rng.random(shape)),
        top * (0.05 + 0.4 * y / shape[0] + 0.2 * rng.random(shape)),
    ]
    return np.stack(planes, axis=-1).astype(dtype)


def field_labels(shape=SHAPE) -> np.ndarray:
    labels = np.zeros(shape, np.uint16)
    labels[10:32, 15:36] = 7
    labels[0:9, 40:53] = 3
    return labels


def config(**sections) -> dict:
    made = {
        "dataset": {
            "metadata": {"label_field": "Treatment", "control_value": "DMSO"},
            "images": {"channels": list(CHANNELS), "file_format": "tif", "bits": 16},
            "locations": {"mode": "single_cells", "box_size": 16},
        },
        "prepare": {
            "illumination_correction": {"down_scale_factor": 4, "median_filter_size": 6},
            "compression": {"implement": True, "scaling_factor": 1.0},
        },
    }
    return made | sections


def write_table(path: Path, header, rows) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(header)
        lines.writerows(rows)


def write_project(root: Path, *, outlines: bool = False, dtype=np.uint16, **sections) -> Path:
    """Writes inputs/; locations carry the well as the index has it."""
    inputs = root / "inputs"
    for folder in ("config", "metadata", "images", "locations"):
        (inputs / folder).mkdir(parents=True, exist_ok=True)
    (inputs / "config" / "config.json").write_text(json.dumps(config(**sections)))
    rows, outline_rows = [], []
    for row, (plate, well, site, treatment) in enumerate(FIELDS):
        image = field_image(row, dtype=dtype)
        names = [f"{plate}/{well}_s{site}_w{c + 1}.tif" for c in range(len(CHANNELS))]
        for name, plane in zip(names, np.moveaxis(image, -1, 0), strict=True):
            path = inputs / "images" / name
            path.parent.mkdir(exist_ok=True)
            tifffile.imwrite(path, plane)
        rows.append([plate, well, site, *names, treatment, f"0{row}"])
        write_table(
            inputs / "locations" / plate / f"{well}-{site}-Nuclei.csv",
            ["Nuclei_Location_Center_X", "Nuclei_Location_Center_Y", "Orientation"],
            [(x, y, 0) for y, x in CENTRES[: 3 - row % 2]],
        )
        if outlines:
            name = f"{plate}_{well}_{site}.tif"
            (inputs / "outlines").mkdir(exist_ok=True)
            tifffile.imwrite(inputs / "outlines" / name, field_labels())
            outline_rows.append([plate, well, site, name])
    keys = ["Metadata_Plate", "Metadata_Well", "Metadata_Site"]
    write_table(inputs / "metadata" / "index.csv", [*keys, *CHANNELS, "Treatment", "Split"], rows)
    if outlines:
        write_table(inputs / "metadata" / "outlines.csv", [*keys, "Outlines"], outline_rows)
    return root
