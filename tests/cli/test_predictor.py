"""Images of any size through a model: tiles, padding, rescaling, and the real loader."""

import numpy as np
import pytest
from scipy import ndimage

from cellml.errors import UsageError
from cellml.experiment.predictor import plan_image, segment_pixels
from tests.cli.fake_model import discs, fake_predictor
from tests.data.test_stitching import same_partition


@pytest.fixture(scope="module")
def field():
    return discs((700, 900), 60, 22)


def test_tiled_equals_untiled_in_labels_and_table(field):
    predictor, shapes = fake_predictor(transforms=3)
    whole = segment_pixels(predictor, field[..., None], tile_px=1024, keep_uncertainty=True)
    assert shapes == [(704, 1024)]  # one padded bucket
    shapes.clear()
    tiled = segment_pixels(predictor, field[..., None], tile_px=320, keep_uncertainty=True)
    assert len(shapes) == 15
    assert set(shapes) == {(320, 320)}  # one compilation
    assert same_partition(whole.labels, tiled.labels)
    assert same_partition(whole.labels, ndimage.label(field > 105)[0])
    np.testing.assert_array_equal(whole.uncertainty, tiled.uncertainty)
    # same rows in another order: sort by centre
    orders = [np.lexsort((f.sums.x / f.sums.area, f.sums.y / f.sums.area)) for f in (whole, tiled)]
    for a, b in zip(whole.sums, tiled.sums, strict=True):
        np.testing.assert_allclose(a[orders[0]], b[orders[1]], rtol=1e-6)


@pytest.mark.parametrize("diameter", [22.0, 88.0])
@pytest.mark.parametrize("tile_px", [1024, 256])
def test_rescaling_keeps_shape_objects_and_pixels(field, diameter, tile_px):
    predictor, shapes = fake_predictor(margin_diameter=44.0)
    pixels = field[:401, :503, None]
    scale = 44.0 / diameter
    found = segment_pixels(predictor, pixels, scale=scale, tile_px=max(tile_px, 320))
    assert all(side <= 1024 * 1.5 for shape in shapes for side in shape)
    assert found.labels.shape == (401, 503)
    truth = ndimage.label(pixels[..., 0] > 105)[0]
    sizes = np.bincount(truth.ravel())[1:]
    large = np.isin(truth, np.nonzero(sizes > 100)[0] + 1)  # slivers at the border may vanish
    assert (
        np.mean((found.labels > 0)[large | (truth == 0)] == (truth > 0)[large | (truth == 0)])
        > 0.98
    )
    assert abs(int(found.labels.max()) - len(sizes)) <= np.sum(sizes <= 100)


def test_image_as_a_memory_map_gives_the_same(field, tmp_path):
    mapped = np.memmap(tmp_path / "a", np.uint8, "w+", shape=(*field.shape, 1))
    mapped[:] = field[..., None]
    predictor, _ = fake_predictor()
    a = segment_pixels(predictor, mapped, tile_px=320)
    b = segment_pixels(predictor, field[..., None], tile_px=320)
    np.testing.assert_array_equal(a.labels, b.labels)


@pytest.mark.parametrize("value", [0, 255])
def test_flat_and_tiny_images_have_no_nuclei(value):
    predictor, _ = fake_predictor()
    found = segment_pixels(predictor, np.full((8, 9, 3), value, np.uint8))
    assert found.labels.shape == (8, 9)
    assert found.labels.max() == 0
    assert len(found.sums.area) == 0


def test_overlap_is_at_least_two_diameters():
    for diameter in (10.0, 40.0, 61.0):
        predictor, _ = fake_predictor(margin_diameter=diameter)
        plan = plan_image(predictor, (3000, 3000), scale=1.0, tile_px=1024)
        assert plan[0].read.x1 - plan[1].read.x0 >= 2 * diameter


def test_tile_without_room_for_margins_is_refused():
    predictor, _ = fake_predictor(margin_diameter=80.0)
    with pytest.raises(UsageError, match="--tile 300: at least 512 px"):
        plan_image(predictor, (3000, 3000), scale=1.0, tile_px=300)


def test_intensity_limits_come_from_the_whole_image(field):
    predictor, _ = fake_predictor()
    uneven = field.copy()
    uneven[:, :450] //= 3  # dim nuclei: below half of the image's range, above half of their tile's
    found = segment_pixels(predictor, uneven[..., None], tile_px=320)
    assert found.limits == (uneven.min(), uneven.max())
    assert not found.labels[:, :449].any()
    assert found.labels[:, 450:].any()
