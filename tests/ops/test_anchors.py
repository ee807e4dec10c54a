"""Anchors against matterport's formulas, counts that are known, and values by hand."""

import numpy as np
import pytest

from cellml.ops.anchors import anchor_boxes

SCALES, RATIOS, STRIDES = (32.0, 64.0, 128.0, 256.0, 512.0), (0.5, 1.0, 2.0), (4, 8, 16, 32, 64)


def matterport_anchors(scale, ratios, shape, feature_stride, anchor_stride):
    """`utils.generate_anchors` of matterport/Mask_RCNN, with its meshgrids."""
    scales, ratios = np.meshgrid(np.array([scale]), np.array(ratios))
    scales, ratios = scales.flatten(), ratios.flatten()
    heights, widths = scales / np.sqrt(ratios), scales * np.sqrt(ratios)
    shifts_y = np.arange(0, shape[0], anchor_stride) * feature_stride
    shifts_x = np.arange(0, shape[1], anchor_stride) * feature_stride
    shifts_x, shifts_y = np.meshgrid(shifts_x, shifts_y)
    box_widths, box_centers_x = np.meshgrid(widths, shifts_x)
    box_heights, box_centers_y = np.meshgrid(heights, shifts_y)
    centers = np.stack([box_centers_y, box_centers_x], axis=2).reshape([-1, 2])
    sizes = np.stack([box_heights, box_widths], axis=2).reshape([-1, 2])
    return np.concatenate([centers - 0.5 * sizes, centers + 0.5 * sizes], axis=1)


@pytest.mark.parametrize("anchor_stride", [1, 2])
@pytest.mark.parametrize("shape", [(64, 192), (100, 70)])
def test_anchors_equal_matterport(shape, anchor_stride):
    found = anchor_boxes(shape, SCALES, RATIOS, STRIDES, anchor_stride=anchor_stride)
    expected = []
    for scale, stride in zip(SCALES, STRIDES, strict=True):
        cells = [int(np.ceil(side / stride)) for side in shape]
        expected.append(matterport_anchors(scale, RATIOS, cells, stride, anchor_stride))
    np.testing.assert_allclose(found, np.concatenate(expected), rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize(("side", "count"), [(512, 65_472), (1024, 261_888)])
def test_published_counts(side, count):
    assert anchor_boxes((side, side), SCALES, RATIOS, STRIDES).shape == (count, 4)


def test_order_and_values_by_hand():
    found = anchor_boxes((8, 12), (8.0, 4.0), (0.25, 1.0), (4, 8))
    assert found.dtype == np.float32
    # level 0: 2 x 3 cells, level 1: 1 x 2 cells; ratio 0.25 is 16 high and 4 wide
    assert found.shape == ((6 + 2) * 2, 4)
    np.testing.assert_array_equal(found[0], [-8, -2, 8, 2])
    np.testing.assert_array_equal(found[1], [-4, -4, 4, 4])
    np.testing.assert_array_equal(found[2], [-8, 2, 8, 6])  # x runs before y
    np.testing.assert_array_equal(found[6], [-4, -2, 12, 2])
    np.testing.assert_array_equal(found[-1], [-2, 6, 2, 10])  # level 1, cell (0, 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scales": (8.0,)}, "1 scales and 5 strides"),
        ({"ratios": (0.0,)}, "positive"),
        ({"anchor_stride": 0}, "positive"),
        ({"image_shape": (0, 64)}, "positive"),
    ],
)
def test_wrong_options_raise(changes, message):
    options = {"image_shape": (64, 64), "scales": SCALES, "ratios": RATIOS, "strides": STRIDES}
    with pytest.raises(ValueError, match=message):
        anchor_boxes(**(options | changes))
