"""PNG strips: DeepProfiler's layout by a naive loop, and back into a store without loss."""

import csv

import numpy as np
import pytest
import tifffile
from PIL import Image
from skimage import exposure

from cellml.data.cell_export import export_settings, write_store
from cellml.data.cell_strips import export_strips, import_strips, pack_strip, unpack_strip
from cellml.data.painting_project import open_project
from cellml.errors import UserError
from tests.data.painting import field_image, write_project


@pytest.fixture
def store(tmp_path):
    project = open_project(write_project(tmp_path / "project", outlines=True))
    settings = export_settings(project, mode="deepprofiler", normalisation="minmax", masks="keep")
    return write_store(project, tmp_path / "store", settings)


def names_of(folder):
    with (folder / "sc-metadata.csv").open() as file:
        return [line["Image_Name"] for line in csv.DictReader(file)]


def test_a_strip_has_its_channels_side_by_side():
    rng = np.random.default_rng(0)
    cell = rng.random((5, 5, 3)).astype(np.float32)
    strip = pack_strip(cell)
    stretched = exposure.rescale_intensity(cell, in_range="image", out_range="uint8")
    for c in range(3):
        tile = strip[:, 5 * c : 5 * c + 5]
        assert np.abs(tile - np.floor(stretched[..., c])).max() <= 1
    assert (strip.min(), strip.max()) == (0, 255)
    plain = rng.integers(0, 200, (4, 4, 2)).astype(np.uint8)
    np.testing.assert_array_equal(unpack_strip(pack_strip(plain)), plain)
    np.testing.assert_array_equal(pack_strip(plain)[:, 4:], plain[..., 1])
    assert not pack_strip(np.full((4, 4, 2), 0.3, np.float32)).any()
    with pytest.raises(ValueError, match="multiple of 4 expected"):
        unpack_strip(np.zeros((4, 9), np.uint8))


def test_strips_and_back(store, tmp_path):
    folder = tmp_path / "strips"
    assert export_strips(store, folder, label_field="Treatment") == len(store)
    names = names_of(folder)
    assert names[0] == "007/A01/1/0@25.5x20.25.png"
    assert names[5].startswith("007/B03/1/1@")
    with Image.open(folder / names[0]) as file:
        assert (file.size, file.mode) == ((48, 16), "L")
    with (folder / "sc-metadata.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [line["Image_Name"] for line in lines] == names
    assert lines[5]["Treatment"] == "drug.tif@1"
    assert lines[5]["Split"] == "02"
    back = import_strips(folder, tmp_path / "back", channels=("DNA", "ER"), label_field="Treatment")
    assert back.channels == ("DNA", "ER", "mask")
    rows = np.arange(len(store))
    np.testing.assert_array_equal(back.read(rows), store.read(rows))
    for name in ("plate", "well", "site", "treatment", "status", "y_px", "x_px", "Split"):
        assert back.index[name].to_pylist() == store.index[name].to_pylist(), name


def test_what_is_written_is_left_alone(store, tmp_path):
    export_strips(store, tmp_path / "s", label_field="T")
    names = names_of(tmp_path / "s")
    times = [(tmp_path / "s" / name).stat().st_mtime_ns for name in names]
    export_strips(store, tmp_path / "s", label_field="T")
    assert times == [(tmp_path / "s" / name).stat().st_mtime_ns for name in names]
    (tmp_path / "s" / names[2]).unlink()
    export_strips(store, tmp_path / "s", label_field="T")
    again = [(tmp_path / "s" / name).stat().st_mtime_ns for name in names]
    assert [a == b for a, b in zip(times, again, strict=True)] == [
        i != 2 for i in range(len(names))
    ]


def test_strips_of_changed_cells_are_written_again(store, tmp_path):
    project = open_project(tmp_path / "project")
    export_strips(store, tmp_path / "s", label_field="T")
    before = {name: (tmp_path / "s" / name).read_bytes() for name in names_of(tmp_path / "s")}
    locations = project.locations_file(0)
    locations.write_text(locations.read_text().replace("25.5,20.25", "24,22"))
    tifffile.imwrite(project.image_path(1, "ER"), field_image(9)[..., 1])
    changed = write_store(
        project,
        tmp_path / "store",
        export_settings(project, mode="deepprofiler", normalisation="minmax", masks="keep"),
    )
    export_strips(changed, tmp_path / "s", label_field="T")
    export_strips(changed, tmp_path / "fresh", label_field="T")
    names = names_of(tmp_path / "s")
    assert names == names_of(tmp_path / "fresh")
    files = {p.relative_to(tmp_path / "s").as_posix() for p in (tmp_path / "s").rglob("*.png")}
    assert files == set(names)  # nothing is left of a cell that moved
    after = {name: (tmp_path / "s" / name).read_bytes() for name in names}
    assert after == {name: (tmp_path / "fresh" / name).read_bytes() for name in names}
    assert after != before
    with_strip = import_strips(tmp_path / "s", tmp_path / "b", channels="ab", label_field="T")
    Image.fromarray(np.full((16, 48), 9, np.uint8)).save(tmp_path / "s" / names[-1])
    again = import_strips(tmp_path / "s", tmp_path / "b", channels="ab", label_field="T")
    last = np.array([len(again) - 1])
    assert (again.read(last) == 9).all()
    assert with_strip.plates == again.plates


def test_mistakes_of_strips_are_named(store, tmp_path):
    folder = tmp_path / "s"
    export_strips(store, folder, label_field="T")
    names = names_of(folder)

    def read(channels=("DNA", "ER")):
        return import_strips(folder, tmp_path / "back", channels=channels, label_field="T")

    with pytest.raises(UserError, match="16 x 48 px found, 5 tiles expected"):
        read(channels="abcde")
    Image.fromarray(np.zeros((16, 32), np.uint8)).save(folder / names[4])
    with pytest.raises(UserError, match="16 x 32 px found, 3 tiles of 16 px expected"):
        read()
    (folder / names[4]).unlink()
    with pytest.raises(UserError, match="no such file"):
        read()
    path = folder / "sc-metadata.csv"
    path.write_text(path.read_text().replace(names[1], "A01/1/x.png"))
    with pytest.raises(UserError, match=r"line 3: Image_Name is 'A01/1/x.png'"):
        read()
