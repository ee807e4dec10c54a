"""Mode full_image: the squares of a field, by hand, by DeepProfiler's formula, and in a store."""

import numpy as np
import pytest

from cellml.data.cell_export import export_settings, write_store
from cellml.data.crops import Status, cut
from cellml.data.image_regions import region_centres
from cellml.data.painting_project import open_project
from cellml.errors import UsageError, UserError
from tests.data.painting import SHAPE, config, field_image, write_project


def centres(shape, side, regions="grid", mode="deepprofiler"):
    return region_centres(shape, side_px=side, regions=regions, mode=mode, where="a.tif")


def test_squares_are_placed_as_deepprofiler_places_them():
    # numpy.linspace(view / 2, size - view / 2, ceil(size / view)) along each axis
    np.testing.assert_allclose(centres((8, 12), 5), [(2.5, x) for x in (2.5, 6, 9.5)] + [
        (5.5, x) for x in (2.5, 6, 9.5)
    ])  # fmt: skip
    np.testing.assert_allclose(
        centres((10, 10), 5), [(2.5, 2.5), (2.5, 7.5), (7.5, 2.5), (7.5, 7.5)]
    )
    np.testing.assert_allclose(centres((9, 7), 7), [(4.5, 3.5)])  # as wide as the field: one
    np.testing.assert_allclose(centres((9, 7), 4, "centre"), [(4.5, 3.5)])


@pytest.mark.parametrize("mode", ["exact", "deepprofiler"])
@pytest.mark.parametrize(
    ("shape", "side"), [((9, 11), 9), ((8, 12), 5), ((41, 53), 16), ((7, 7), 7)]
)
def test_no_square_leaves_its_field(mode, shape, side):
    image = np.random.default_rng(0).integers(1, 200, (*shape, 2)).astype(np.uint16)
    for regions in ("centre", "grid"):
        placed = centres(shape, side, regions, mode)
        crops = cut(image, placed, side=side, mode=mode)
        assert set(crops.status) == {Status.OK}
        assert crops.pixels.min() > 0
    whole = centres((side, side), side, "centre", mode)
    crops = cut(image[:side, :side], whole, side=side, mode=mode).pixels
    np.testing.assert_allclose(crops[0], image[:side, :side], atol=1e-3)


def full_image(root, **locations):
    dataset = config()["dataset"]
    dataset["locations"] = {"mode": "full_image", "box_size": 16, **locations}
    return open_project(write_project(root, outlines=True, dataset=dataset))


def test_a_field_is_one_square_unless_the_configuration_has_a_view_size(tmp_path):
    project = full_image(tmp_path / "a")
    for row in range(len(project)):
        project.locations_file(row).unlink()  # none are needed
    store = write_store(project, tmp_path / "store")
    assert store.plates == {"007": 3, "P-2": 2}
    assert store.side_px == min(SHAPE)
    assert store.settings["regions"] == "centre"
    assert set(store.index["status"].to_pylist()) == {Status.OK}
    left = (SHAPE[1] - SHAPE[0]) // 2
    pixels = store.read(np.arange(5))
    for row in range(5):
        np.testing.assert_array_equal(pixels[row], field_image(row)[:, left : left + SHAPE[0]])


def test_view_size_covers_the_field_with_a_grid(tmp_path):
    project = full_image(tmp_path / "a", view_size=20)
    store = write_store(project, tmp_path / "store")
    assert store.side_px == 20
    assert len(store) == 5 * 3 * 3  # 41 x 53 px
    first = store.read(np.arange(9))
    np.testing.assert_array_equal(first[0], field_image(0)[:20, :20])
    np.testing.assert_array_equal(first[8], field_image(0)[-20:, -20:])
    assert store.index["cell_id"].to_pylist()[:10] == [*range(1, 10), 1]
    assert export_settings(project, side_px=41).regions == "grid"


def test_what_no_field_can_give_is_named(tmp_path):
    large = full_image(tmp_path / "large", view_size=42)
    with pytest.raises(UserError, match=r"w1\.tif: 41 x 53 px found, at least 42 px expected"):
        write_store(large, tmp_path / "store")
    masked = full_image(tmp_path / "masked", mask_objects=True)
    with pytest.raises(UsageError, match=r"config\.json: masks asked for .* mode full_image"):
        write_store(masked, tmp_path / "other")
    # without the mode, view_size does not matter: box_size is the side of a cell
    cells = config()["dataset"]
    cells["locations"]["view_size"] = 99
    project = open_project(write_project(tmp_path / "cells", dataset=cells))
    assert export_settings(project).side_px == 16
    assert "regions" not in write_store(project, tmp_path / "c").settings
