"""Outlines: masks there and back, polygons by hand, neighbours without gaps."""

import time

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.measure import points_in_poly

from cellml.annotate.objects import AnnotatedObject, area, box_polygons
from cellml.annotate.outlines import (
    covered,
    fill_polygons,
    labels_to_objects,
    object_window,
    objects_to_labels,
    trace_mask,
)


@st.composite
def blobs(draw) -> np.ndarray:
    """Masks with holes and several parts, also parts and holes that touch at corners only."""
    shape = draw(st.tuples(st.integers(1, 17), st.integers(1, 17)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    noise = rng.random(shape)
    if draw(st.booleans()):
        noise = ndimage.uniform_filter(noise, 3)
    return noise > np.quantile(noise, draw(st.sampled_from([0.2, 0.5, 0.8])))


@settings(max_examples=150, deadline=None)
@given(blobs(), st.integers(-5, 40), st.integers(-5, 40))
def test_mask_to_outline_to_mask_is_exact(mask, row, column):
    polygons = trace_mask(mask, offset=(row, column))
    np.testing.assert_array_equal(fill_polygons(polygons, mask.shape, offset=(row, column)), mask)
    assert len(polygons) == ndimage.label(mask)[1]  # parts share sides, not corners
    shapes = [shapely.Polygon(part[0], part[1:]) for part in polygons]
    assert all(shape.is_valid for shape in shapes)
    assert sum(shape.area for shape in shapes) == area(polygons) == mask.sum()
    for exterior, *holes in polygons:  # y points down: clockwise on the screen is anticlockwise
        assert shapely.LinearRing(exterior).is_ccw
        assert not any(shapely.LinearRing(hole).is_ccw for hole in holes)


def test_outline_by_hand():
    mask = np.array([[1, 1, 1, 0], [1, 0, 1, 0], [1, 1, 1, 1]], bool)
    exterior = ((0, 0), (3, 0), (3, 2), (4, 2), (4, 3), (0, 3))
    hole = ((1, 1), (1, 2), (2, 2), (2, 1))
    polygons = trace_mask(mask)
    assert len(polygons) == 1
    assert [set(ring) for ring in polygons[0]] == [set(exterior), set(hole)]
    assert polygons[0][0] == exterior
    assert trace_mask(np.zeros((3, 4), bool)) == ()


def test_a_hole_that_touches_the_outside_at_a_corner_is_a_hole():
    mask = np.ones((4, 4), bool)
    mask[0, 0] = mask[1, 1] = False
    ((exterior, hole),) = trace_mask(mask)
    assert len(set(exterior)) == len(exterior) == 6
    assert set(hole) == {(1, 1), (1, 2), (2, 2), (2, 1)}


def test_fill_equals_a_test_of_every_centre():
    rng = np.random.default_rng(3)
    for _ in range(20):
        ring = tuple(map(tuple, (rng.random((int(rng.integers(3, 9)), 2)) * 14 - 2).tolist()))
        centres = np.indices((9, 11))[::-1].reshape(2, -1).T + 0.5
        expected = points_in_poly(centres, ring).reshape(9, 11)  # even-odd, as lines may cross
        np.testing.assert_array_equal(fill_polygons(((ring,),), (9, 11)), expected)


def test_neighbours_share_no_pixel_and_leave_none_out():
    # the shared edges run through centres of pixels
    middle, corners = (6.5, 5.5), [(0.5, 0.5), (12.5, 0.5), (12.5, 10.5), (0.5, 10.5)]
    pieces = [((middle, a, b),) for a, b in zip(corners, corners[1:] + corners[:1], strict=True)]
    count = np.sum([fill_polygons((piece,), (12, 14)) for piece in pieces], axis=0)
    np.testing.assert_array_equal(count, fill_polygons(((tuple(corners),),), (12, 14)))
    assert count.sum() == 120


def test_windows_show_parts_of_the_whole():
    ring = ((-4.2, 3.1), (9.7, -2.0), (20.0, 8.5), (6.0, 14.9))
    hole = ((5.0, 4.0), (8.0, 5.0), (6.0, 8.0))
    whole = fill_polygons(((ring, hole),), (12, 16))
    window = fill_polygons(((ring, hole),), (5, 6), offset=(3, 4))
    np.testing.assert_array_equal(window, whole[3:8, 4:10])
    item = AnnotatedObject(1, "instance", "a", ((ring, hole),))
    found = object_window(item, (12, 16))
    assert found is not None
    np.testing.assert_array_equal(found[1], whole[found[0]])
    np.testing.assert_array_equal(covered([item], (12, 16)), whole)
    assert object_window(item, (2, 3)) is None or not covered([item], (1, 1)).any()


@pytest.mark.parametrize("dtype", ["int32", "uint16", "uint64", "int64"])
def test_labels_to_objects_and_back(dtype):
    labels = np.zeros((13, 17), dtype)
    labels[1:4, 2:6] = 2
    labels[8:12, 1:9] = 7
    labels[9:11, 3:5] = 0
    labels[0:2, 12:15] = 7  # a second piece
    labels[12, 16] = 9
    objects = labels_to_objects(labels, "nucleus", "unet", 41)
    assert [item.id for item in objects] == [41, 42, 43]
    assert {(item.kind, item.class_name, item.source) for item in objects} == {
        ("instance", "nucleus", "unet")
    }
    assert [len(item.polygons) for item in objects] == [1, 2, 1]
    expected = np.searchsorted([0, 2, 7, 9], labels)
    np.testing.assert_array_equal(objects_to_labels(objects, labels.shape), expected)


def test_large_labels_need_no_large_table():
    labels = np.zeros((9, 9), np.int64)
    labels[2:4, 3:8], labels[6, 6] = 2**40, 5
    objects = labels_to_objects(labels, "a", "imported", 1)
    assert [area(item.polygons) for item in objects] == [1, 10]


def test_the_smaller_of_two_objects_lies_on_top():
    small = AnnotatedObject(1, "instance", "nucleus", box_polygons(2.0, 2.0, 4.0, 5.0))
    large = AnnotatedObject(2, "instance", "cell", box_polygons(1.0, 1.0, 8.0, 7.0))
    labels = objects_to_labels([small, large], (9, 10))
    assert (labels == 1).sum() == 6
    assert (labels == 2).sum() == 36


def test_time_grows_with_the_objects_not_with_the_image():
    # 2,000 objects in 8,192 x 8,192 take 0.7 s where nothing else runs; here 200 in 2,048 x 2,048
    labels = np.zeros((2048, 2048), np.int32)
    y, x = np.mgrid[:100, :100] - 50
    for label in range(1, 201):
        row, column = divmod(label - 1, 15)
        labels[row * 130 : row * 130 + 100, column * 130 : column * 130 + 100][
            x * x + y * y < 48 * 48
        ] = label
    start = time.process_time()
    objects = labels_to_objects(labels, "a", "unet", 1)
    assert time.process_time() - start < 3
    np.testing.assert_array_equal(objects_to_labels(objects, labels.shape), labels)
