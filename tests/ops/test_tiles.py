"""The laws of tile plans: cores partition, context is kept, read boxes have one shape."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellml.ops.tiles import Box, bucket, pad_reflect, plan_axis, plan_tiles


@st.composite
def plans(draw: st.DrawFn) -> tuple[tuple[int, int], tuple[int, int], int]:
    margin = draw(st.integers(0, 20))
    tile = (draw(st.integers(2 * margin + 9, 90)), draw(st.integers(2 * margin + 9, 90)))
    return (draw(st.integers(1, 300)), draw(st.integers(1, 300))), tile, margin


@settings(max_examples=30, deadline=None)
@given(plans())
def test_cores_partition_the_image(case):
    shape, tile, margin = case
    seen = np.zeros(shape, int)
    for step in plan_tiles(shape, tile=tile, margin=margin):
        seen[step.core.slices()] += 1
    assert (seen == 1).all()


@settings(max_examples=30, deadline=None)
@given(plans())
def test_read_boxes_have_one_shape_lie_inside_and_keep_the_margin(case):
    shape, tile, margin = case
    for step in plan_tiles(shape, tile=tile, margin=margin):
        read, core = step.read, step.core
        assert read.shape == (min(tile[0], shape[0]), min(tile[1], shape[1]))
        assert read.intersect(Box(0, 0, *shape)) == read
        assert core.y0 - read.y0 >= margin or read.y0 == 0
        assert core.x0 - read.x0 >= margin or read.x0 == 0
        assert read.y1 - core.y1 >= margin or read.y1 == shape[0]
        assert read.x1 - core.x1 >= margin or read.x1 == shape[1]


def test_plan_axis_by_hand():
    # two tiles of 10 with margin 2 cover 16: starts 0 and 6, overlap 6..10, seam in its middle
    assert plan_axis(16, 10, 2) == [(0, 10, 0, 8), (6, 16, 8, 16)]
    assert plan_axis(9, 10, 2) == [(0, 9, 0, 9)]


def test_number_of_tiles_is_linear_in_area():
    counts = [len(plan_tiles((n, n), tile=(1024, 1024), margin=64)) for n in (2048, 4096, 8192)]
    assert counts == [9, 25, 81]


@pytest.mark.parametrize("arguments", [(10, 4, 2), (0, 4, 1), (10, 0, 0), (10, 4, -1)])
def test_impossible_plans_are_refused(arguments):
    with pytest.raises(ValueError, match=r"room|need"):
        plan_axis(*arguments)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3000), st.sampled_from([1, 8, 16, 32, 48]))
def test_bucket_is_a_multiple_not_smaller_and_near(length, stride):
    found = bucket(length, stride)
    assert found >= length
    assert found % stride == 0
    assert found - length < np.lcm(64 if length <= 768 else 128, stride)


def test_buckets_are_few():
    assert len({bucket(n, 16) for n in range(8, 1537)}) == 18


def test_padding_reflects_and_is_cropped_away():
    image = np.arange(2 * 3 * 1, dtype=np.float32).reshape(2, 3, 1)
    padded = pad_reflect(image, (5, 4))
    np.testing.assert_array_equal(padded[:2, :3], image)
    np.testing.assert_array_equal(padded[:, 0, 0], [0, 3, 0, 3, 0])
    np.testing.assert_array_equal(padded[0, :, 0], [0, 1, 2, 1])
    with pytest.raises(ValueError, match="smaller"):
        pad_reflect(image, (1, 4))
