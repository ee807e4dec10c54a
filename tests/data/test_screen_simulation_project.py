"""A simulated screen on disk is a DeepProfiler project that says what the screen says."""

import csv

import numpy as np
import pytest
from scipy import ndimage

from cellml.data.painting_config import SCHEMAS
from cellml.data.painting_project import open_project
from cellml.data.screen_simulation import (
    CHANNELS,
    ScreenDesign,
    list_treatments,
    list_wells,
    simulate_screen_field,
)
from cellml.data.screen_simulation_project import outlines, write_project

DESIGN = ScreenDesign(
    mechanisms=("actin_inhibitor",),
    n_per_mechanism=1,
    n_inactive=1,
    n_plates=2,
    n_rows=2,
    n_columns=2,
    n_sites=1,
    shape=(96, 128),
    n_cells=6,
    cell_diameter_px=36.0,
)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    calls = []
    folder = write_project(
        tmp_path_factory.mktemp("screen"), DESIGN, progress=lambda *counts: calls.append(counts)
    )
    assert calls == [(number, 8) for number in range(1, 9)]
    return open_project(folder)


def test_images_locations_and_outlines_are_those_of_the_screen(project):
    assert project.channels == CHANNELS
    assert len(project) == 8
    for row, well in enumerate(list_wells(DESIGN)):
        field = simulate_screen_field(DESIGN, well, 1)
        assert project.key(row) == (well.plate, well.well, "1")
        np.testing.assert_array_equal(project.image(row), field.image)
        np.testing.assert_allclose(project.locations(row), field.centres, atol=1e-3)
        objects = project.outlines(row)
        assert objects is not None
        for label, (y, x) in enumerate(np.round(field.centres).astype(int), 1):
            own = objects == objects[y, x]
            assert objects[y, x] > 0
            assert (field.labels[own] == label).all()
            assert own.sum() > 0.5 * (field.labels == label).sum()


def test_two_processes_write_the_same_files(project, tmp_path):
    calls = []
    write_project(tmp_path, DESIGN, workers=2, progress=lambda *counts: calls.append(counts))
    assert calls == [(number, 8) for number in range(1, 9)]
    found = {p.relative_to(tmp_path): p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    expected = {
        p.relative_to(project.root): p.read_bytes() for p in project.root.rglob("*") if p.is_file()
    }
    assert found == expected


def test_tables(project):
    index = project.index.to_pylist()
    assert {row["plate"] for row in index} == {"01001", "02002"}  # zeros in front stay
    truth = {t.name: t for t in list_treatments(DESIGN)}
    for row in index:
        treatment = truth[row["treatment"]]
        assert row["Metadata_role"] == treatment.role
        active = treatment.strength > 0
        assert row["Metadata_moa"] == ("actin_inhibitor" if active else "")
    assert project.controls().sum() == 4
    path = project.root / "inputs" / "metadata" / "truth.csv"
    with path.open(encoding="utf-8") as file:
        rows = {row["Metadata_treatment"]: row for row in csv.DictReader(file)}
    assert {name: float(row["strength"]) for name, row in rows.items()} == {
        name: treatment.strength for name, treatment in truth.items()
    }


@pytest.mark.parametrize("command", SCHEMAS)
def test_the_configuration_serves_every_command(project, command):
    assert project.settings(command)["dataset.images.channels"] == list(CHANNELS)


def test_plates_are_kept_apart(project):
    partition = project.config["train"]["partition"]
    assert (partition["training"], partition["validation"]) == (["01001"], ["02002"])


def test_outlines_part_cells_that_touch():
    labels = np.zeros((9, 12), np.int32)
    labels[1:8, 1:6] = 1
    labels[1:8, 6:11] = 2
    lines = outlines(labels)
    pieces, n_pieces = ndimage.label(lines == 0, np.ones((3, 3)))
    assert n_pieces == 3  # the two cells and what is around them
    assert pieces[4, 3] != pieces[4, 8]
    assert (labels[lines == 1] > 0).all()
