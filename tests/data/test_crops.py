"""Crops: DeepProfiler's formula in exact fractions and naive loops, statuses, masks, scaling."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest
import tifffile

from cellml.data.crops import Status, apply_masks, cell_labels, cut, cut_masks, normalise
from tests.data.painting import field_image, field_labels

SIDE = 12
CENTRES = np.asarray(
    [(20.25, 25.5), (6.0, 30.0), (35.0, 47.0), (2.5, 51.9), (40.0, 26.0), (-30.0, 20.0)],
    np.float32,
)  # inside, ends at the top, ends at the bottom right, corner, half below, outside


def sample(image, cy, cx, side):
    """`tf.image.crop_and_resize` of a box normalised by H and W, in rational numbers."""
    height, width, channels = image.shape
    out = np.zeros((side, side, channels))
    for i in range(side):
        for j in range(side):
            y, x = (
                (Fraction(c) - Fraction(side, 2)) * Fraction(n - 1, n)
                + k * Fraction(side * (n - 1), n * (side - 1))
                for c, n, k in ((float(cy), height, i), (float(cx), width, j))
            )
            if not (0 <= y <= height - 1 and 0 <= x <= width - 1):
                continue
            top, left = floor(y), floor(x)
            bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
            for c in range(channels):
                pixel = {k: Fraction(float(image[k][c])) for k in ((top, left), (top, right))}
                pixel |= {
                    k: Fraction(float(image[k][c])) for k in ((bottom, left), (bottom, right))
                }
                above = pixel[top, left] * (1 - x + left) + pixel[top, right] * (x - left)
                below = pixel[bottom, left] * (1 - x + left) + pixel[bottom, right] * (x - left)
                out[i, j, c] = float(above * (1 - y + top) + below * (y - top))
    return out


@pytest.mark.parametrize("side", [SIDE, 7])
def test_deepprofiler_crops_equal_the_formula(side):
    image = field_image(0).astype(np.float32) / 65535
    crops = cut(image, CENTRES, side=side)
    for pixels, (cy, cx) in zip(crops.pixels, CENTRES, strict=True):
        np.testing.assert_allclose(pixels, sample(image, cy, cx, side), atol=1e-6, rtol=0)


def test_sixteen_bits_are_as_exact_as_float32_is():
    image = field_image(1)
    crops = cut(image, CENTRES[:2], side=SIDE).pixels
    expected = np.stack([sample(image, cy, cx, SIDE) for cy, cx in CENTRES[:2]])
    np.testing.assert_allclose(crops / 65535, expected / 65535, atol=1e-6, rtol=0)


def test_real_cells_equal_the_formula(shared_data):
    """A field of the Bray data set, 520 x 696, with the dissertation's 128 px, every 9th pixel."""
    path = shared_data / "images" / "cellpainting_fields" / "bray_cloome_example" / "ER.tif"
    image = tifffile.imread(path)[..., None]
    centres = np.asarray([(260.37, 401.13), (30.5, 640.25)], np.float32)
    crops = cut(image, centres, side=128)
    assert crops.status.tolist() == [Status.OK, Status.EDGE]
    (height, width), side = image.shape[:2], 128
    for pixels, (cy, cx) in zip(crops.pixels[..., 0], centres.astype(float), strict=True):
        for i in range(0, side, 9):
            for j in range(0, side, 9):
                y = (cy - side / 2) * (height - 1) / height
                y += i * side * (height - 1) / (height * (side - 1))
                x = (cx - side / 2) * (width - 1) / width
                x += j * side * (width - 1) / (width * (side - 1))
                expected = 0.0
                if 0 <= y <= height - 1 and 0 <= x <= width - 1:
                    around = image[int(y) : int(y) + 2, int(x) : int(x) + 2, 0].astype(float)
                    across = around @ [1 - (x - int(x)), x - int(x)]
                    expected = across @ [1 - (y - int(y)), y - int(y)]
                assert abs(pixels[i, j] - expected) <= 1e-6 * image.max()


def test_a_box_that_ends_at_the_border_is_whole():
    status = cut(field_image(0), CENTRES, side=SIDE).status
    ok, edge, outside = Status.OK, Status.EDGE, Status.OUTSIDE
    assert status.tolist() == [ok, ok, ok, edge, edge, outside]


def test_a_border_of_rounding_errors_is_no_edge():
    for size in range(20, 400, 7):
        image = np.ones((size, size, 1), np.uint8)
        centres = np.asarray([(size - 5, 5), (5, size - 5)], np.float32)
        crops = cut(image, centres, side=10)
        assert (crops.status == Status.OK).all(), size
        assert (crops.pixels == 1).all()


def test_exact_crops_are_slices():
    image = field_image(2)
    padded = np.pad(image, ((60, 60), (60, 60), (0, 0)))
    for side in (SIDE, 5):
        crops = cut(image, CENTRES, side=side, mode="exact")
        assert crops.pixels.dtype == np.uint16
        for pixels, (cy, cx) in zip(crops.pixels, CENTRES, strict=True):
            y, x = floor(cy + 0.5) - side // 2 + 60, floor(cx + 0.5) - side // 2 + 60
            np.testing.assert_array_equal(pixels, padded[y : y + side, x : x + side])
    assert crops.status.tolist()[-1] == Status.OUTSIDE


def test_no_cells_give_no_crops():
    crops = cut(field_image(0), np.zeros((0, 2), np.float32), side=SIDE)
    assert crops.pixels.shape == (0, SIDE, SIDE, 2)
    assert normalise(crops.pixels, "minmax").shape == (0, SIDE, SIDE, 2)


def test_an_image_smaller_than_the_crop_is_an_edge():
    image = np.full((8, 9, 1), 3, np.uint8)
    for mode in ("exact", "deepprofiler"):
        crops = cut(image, np.asarray([(4.0, 4.0)], np.float32), side=20, mode=mode)
        assert crops.status.tolist() == [Status.EDGE]
        assert 8 * 9 * 3 * 0.7 < crops.pixels.sum() <= 8 * 9 * 3


@pytest.mark.parametrize(
    ("centres", "options", "message"),
    [
        ([(1.0, np.nan)], {}, "centre 0 is"),
        ([(1.0, 1.0)], {"side": 1}, "at least 2"),
        ([(1.0, 1.0)], {"mode": "fast"}, "one of deepprofiler, exact"),
    ],
)
def test_what_cannot_be_cut(centres, options, message):
    with pytest.raises(ValueError, match=message):
        cut(field_image(0), np.asarray(centres, np.float32), **{"side": SIDE} | options)


def test_normalisations_by_hand():
    crops = np.asarray([[[[2, 7]], [[6, 7]]], [[[0, 1]], [[0, 3]]]], np.uint8)
    crops = np.broadcast_to(crops, (2, 2, 2, 2))
    legacy = normalise(crops, "deepprofiler-legacy")
    np.testing.assert_allclose(legacy[0, :, 0, 0], [0, 4 / 6], atol=1e-7)
    np.testing.assert_allclose(legacy[1, :, 0, 1], [0, 2 / 3], atol=1e-7)
    scaled = normalise(crops, "minmax")
    np.testing.assert_allclose(scaled[0, :, 0, 0], [0, 4 / (4 + 1e-7)], atol=1e-7)
    for flat in (legacy, scaled):
        assert (flat[0, ..., 1] == 0).all()  # flat
        assert (flat[1, ..., 0] == 0).all()  # black: NaN in DeepProfiler
    np.testing.assert_array_equal(normalise(crops, "none"), crops.astype(np.float32))
    with pytest.raises(ValueError, match="deepprofiler-legacy"):
        normalise(crops, "zscore")


def test_normalisation_is_per_crop_and_channel():
    crops = cut(field_image(0), CENTRES[:3], side=SIDE).pixels
    whole = normalise(crops, "minmax")
    for i in range(3):
        for c in range(2):
            one = crops[i, ..., c].astype(np.float64)
            expected = (one - one.min()) / (one.max() - one.min() + 1e-7)
            np.testing.assert_allclose(whole[i, ..., c], expected, atol=1e-6)


def test_masks_keep_the_own_object():
    labels = field_labels()
    centres = np.asarray([(20.25, 25.5), (3.0, 50.75), (37.0, 5.0), (-20.0, 5.0)], np.float32)
    image = np.repeat(labels[..., None].astype(np.float32), 2, axis=-1)
    masks, own = cut_masks(labels, centres, side=30)
    assert own.tolist() == [7, 3, 0, 0]
    crops = cut(image, centres, side=30).pixels
    for i in range(2):
        np.testing.assert_array_equal(masks[i], crops[i, ..., 0] == own[i])
        assert masks[i].any()
    assert not masks[2:].any()
    masked = apply_masks(crops, masks)
    assert set(np.unique(masked[0])) == {0.0, 7.0}
    exact, _ = cut_masks(labels.astype(np.int32), centres[:1], side=30, mode="exact")
    assert exact.sum() == 22 * 21  # the whole object
    assert masks[0].sum() < 22 * 21  # its rim is interpolated


def test_the_label_of_a_cell_is_a_median_of_100_pixels():
    labels = np.zeros((30, 30), np.int32)
    labels[10:20, 10:15] = 4  # half of the pixels around (15, 15)
    labels[10:20, 15:22] = 9
    centres = np.asarray([(15.9, 15.9), (15.0, 14.0), (15.0, 17.0), (0.0, 0.0)], np.float32)
    assert cell_labels(labels, centres).tolist() == [6, 4, 9, 0]
    masks, own = cut_masks(labels, centres, side=10)
    assert own.tolist() == [0, 4, 9, 0]  # there is no object 6
    assert masks.any(axis=(1, 2)).tolist() == [False, True, True, False]
