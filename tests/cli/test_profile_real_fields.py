"""Real Cell Painting fields, from images to profiles: BBBC022 and CDRP, five channels each.

Each field stands for a plate of its own, its quarters for two sites of two wells.
"""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import tifffile
from PIL import Image
from scipy import ndimage
from skimage.filters import gaussian, threshold_otsu

from cellml.data.cell_store import open_store
from cellml.data.crops import Status
from cellml.data.feature_files import features_path, iterate_sites
from cellml.models.efficientnet import feature_count
from tests.cli.screens import profile
from tests.data.painting import write_table
from tests.tasks.test_published_embedders import keras_file, tensors

CHANNELS = ("DNA", "ER", "RNA", "AGP", "Mito")
FIELDS = {"BBBC022": "bbbc022_20585_A01_s2", "CDRP": "bray_cloome_example"}
QUARTERS = (("A01", "1"), ("A01", "2"), ("B02", "1"), ("B02", "2"))
SIDE_PX = 64
INDEX = ("Metadata_Plate", "Metadata_Well", "Metadata_Site", *CHANNELS, "Treatment")


def nuclei(image: np.ndarray) -> np.ndarray:
    """Centres (y, x) of what is bright and as large as a nucleus."""
    smooth = gaussian(image.astype(np.float64), 2)
    labels = ndimage.label(smooth > threshold_otsu(smooth))[0]
    areas = np.bincount(labels.ravel())
    objects = np.flatnonzero(areas > 60)[1:]
    return np.asarray(ndimage.center_of_mass(labels > 0, labels, objects)).reshape(-1, 2)


def read(path: Path) -> np.ndarray:
    if path.suffix == ".tif":
        return tifffile.imread(path)
    with Image.open(path) as file:
        return np.asarray(file)


def write_real_project(root: Path, fields: Path) -> int:
    """Writes the project; returns the number of nuclei."""
    inputs, rows, found = root / "inputs", [], 0
    (inputs / "config").mkdir(parents=True)
    sections = {
        "metadata": {"label_field": "Treatment", "control_value": "DMSO"},
        "images": {"channels": CHANNELS, "file_format": "tif"},
        "locations": {"mode": "single_cells", "box_size": SIDE_PX},
    }
    (inputs / "config" / "config.json").write_text(json.dumps({"dataset": sections}))
    for plate, folder in FIELDS.items():
        images = {c: read(next((fields / folder).glob(f"{c}.*"))) for c in CHANNELS}
        height, width = (size // 2 for size in images["DNA"].shape)
        for i, (well, site) in enumerate(QUARTERS):
            y, x = i // 2 * height, i % 2 * width
            names = [f"{plate}/{well}_{site}_{channel}.tif" for channel in CHANNELS]
            (inputs / "images" / plate).mkdir(parents=True, exist_ok=True)
            for channel, name in zip(CHANNELS, names, strict=True):
                quarter = images[channel][y : y + height, x : x + width]
                tifffile.imwrite(inputs / "images" / name, np.ascontiguousarray(quarter))
            centres = nuclei(images["DNA"][y : y + height, x : x + width])
            found += len(centres)
            write_table(
                inputs / "locations" / plate / f"{well}-{site}-Nuclei.csv",
                ("Nuclei_Location_Center_X", "Nuclei_Location_Center_Y"),
                [(f"{cx:.2f}", f"{cy:.2f}") for cy, cx in centres],
            )
            treatment = "DMSO" if well == "A01" else "drug"
            rows.append((plate, well, site, *names, treatment))
    write_table(inputs / "metadata" / "index.csv", INDEX, rows)
    return found


@pytest.fixture(scope="module")
def project(tmp_path_factory, shared_data):
    root = tmp_path_factory.mktemp("real")
    found = write_real_project(root, shared_data / "images" / "cellpainting_fields")
    assert profile("prepare", root)[0] == 0
    assert profile("export", root)[0] == 0
    return root, found


def test_prepared_cells_lie_on_nuclei(project):
    root, found = project
    store = open_store(root / "outputs" / "single-cells")
    assert 80 < len(store) == found < 400  # the fields hold 60 to 150 nuclei each
    assert (store.channels, store.dtype, store.side_px) == (CHANNELS, np.uint8, SIDE_PX)
    whole = store.index["status"].to_numpy() == Status.OK
    assert whole.mean() > 0.4  # the quarters are 260 x 348 px: many cells are cut off
    dna = store.read(np.flatnonzero(whole))[..., 0].astype(np.float64)
    centre = dna[:, 28:36, 28:36].mean((1, 2))
    rim = np.concatenate([dna[:, 0], dna[:, -1], dna[:, :, 0], dna[:, :, -1]], axis=1)
    assert (centre > np.median(rim, axis=1)).mean() > 0.95


def test_features_of_a_published_network_become_profiles(project, tmp_path):
    root, found = project
    weights = keras_file(tmp_path / "cells.hdf5", tensors(5))
    options = ("--model", weights, "--variant", "micro", "--input-px", 32, "--batch-size", 32)
    order = ("--channel-order", "DNA,RNA,ER,AGP,Mito")
    assert profile("embed", root, "-e", "published", *options, *order)[0] == 0
    folder = root / "outputs" / "published" / "features"
    medians = {}
    for plate in FIELDS:
        facts = pq.read_metadata(features_path(folder, plate))
        assert facts.num_rows == open_store(root / "outputs" / "single-cells").plates[plate]
        for key, rows, features in iterate_sites(folder, plate):
            assert np.isfinite(features).all()
            counted = np.isin(rows["status"].to_numpy(), (Status.OK, Status.EDGE))
            medians[key] = np.median(features[counted], axis=0)
    statuses = ("--status", "ok", "--status", "edge")
    assert profile("aggregate", root, "-e", "published", *statuses)[0] == 0
    wells = pq.read_table(root / "outputs" / "published" / "profiles" / "well.parquet")
    assert wells.num_rows == len(FIELDS) * 2
    names = [name for name in wells.column_names if name.startswith("efficientnet_")]
    assert len(names) == feature_count("micro")
    for row in wells.to_pylist():
        key = row["Metadata_Plate"], row["Metadata_Well"]
        expected = np.mean([medians[(*key, site)] for site in ("1", "2")], axis=0)
        np.testing.assert_allclose([row[n] for n in names], expected, rtol=1e-4, atol=1e-5)
    assert sum(1 for _ in medians) == 8
    assert found == sum(open_store(root / "outputs" / "single-cells").plates.values())
