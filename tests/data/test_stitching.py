"""Tiles give the same objects as the whole image, each once and whole."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.measure import label

from cellml.data.stitching import Stitcher, matching_pairs
from cellml.ops.tiles import Box, Tile, plan_tiles


def same_partition(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two label images differ by the names of their labels only."""
    pairs = np.unique(np.stack([a.ravel(), b.ravel()]), axis=1)
    unique = all(len(np.unique(side)) == pairs.shape[1] for side in pairs)
    return unique and ((pairs[0] == 0) == (pairs[1] == 0)).all()


def ellipses(shape: tuple[int, int], count: int, radius_max: int, seed: int) -> np.ndarray:
    """Draws separate, convex objects, some of them cut by the image's border."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    out = np.zeros(shape, bool)
    for _ in range(count):
        cy, cx = generator.uniform(0, shape)
        ry, rx = generator.uniform(1.5, radius_max, 2)
        around = ((y - cy) / (ry + 2)) ** 2 + ((x - cx) / (rx + 2)) ** 2 <= 1
        if not (out & around).any():
            out |= ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 <= 1
    return out


def stitch(mask: np.ndarray, *, tile: int, margin: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels the tiles of a mask one by one, as a perfect local segmenter would."""
    stitcher = Stitcher(mask.shape)
    for step in plan_tiles(mask.shape, tile=(tile, tile), margin=margin):
        stitcher.add(step, label(mask[step.read.slices()]).astype(np.int32))
    return stitcher.finish()


@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(st.integers(30, 120), st.integers(30, 120)),
    count=st.integers(0, 25),
    radius_max=st.integers(3, 40),
    tile=st.integers(44, 70),
    seed=st.integers(0, 2**31),
)
def test_tiled_equals_untiled_even_for_objects_larger_than_a_tile(
    shape, count, radius_max, tile, seed
):
    mask = ellipses(shape, count, radius_max, seed)
    found, lookup = stitch(mask, tile=tile, margin=12)
    assert same_partition(found, label(mask))
    np.testing.assert_array_equal(np.unique(found[found > 0]), np.arange(1, lookup.max() + 1))


def test_object_across_four_tiles_comes_out_once():
    mask = np.zeros((80, 90), bool)
    mask[30:55, 33:60] = True
    mask[5:9, 5:12] = True
    found, _ = stitch(mask, tile=50, margin=8)
    assert found.max() == 2
    assert len(np.unique(found[mask])) == 2
    assert (found[30:55, 33:60] == found[40, 40]).all()


def test_sliver_that_the_neighbour_does_not_see_goes_to_the_tile_with_its_larger_part():
    stitcher = Stitcher((10, 20))
    left, right = np.zeros((10, 14), np.int32), np.zeros((10, 14), np.int32)
    left[2:5, 7:13] = 1  # columns 7..12, core up to 10: half of it inside
    left[6:9, 9:13] = 2  # columns 9..12: a quarter inside, and the right tile sees nothing
    stitcher.add(Tile(Box(0, 0, 10, 14), Box(0, 0, 10, 10)), left)
    stitcher.add(Tile(Box(0, 6, 10, 20), Box(0, 10, 10, 20)), right)
    found, lookup = stitcher.finish()
    np.testing.assert_array_equal(lookup, [0, 1, 0])
    expected = np.zeros((10, 20), np.int32)
    expected[2:5, 7:10] = 1
    np.testing.assert_array_equal(found, expected)


def test_labels_without_pixels_are_dropped():
    stitcher = Stitcher((4, 4))
    labels = np.zeros((4, 4), np.int32)
    labels[1, 1:3] = 3
    stitcher.add(Tile(Box(0, 0, 4, 4), Box(0, 0, 4, 4)), labels)
    found, lookup = stitcher.finish()
    np.testing.assert_array_equal(lookup, [0, 0, 0, 1])
    assert found[1, 1] == 1


def test_matching_pairs_against_a_loop():
    generator = np.random.default_rng(3)
    a = generator.integers(0, 4, (6, 7)).repeat(3, 0).repeat(3, 1).astype(np.int32)
    b = np.roll(a, 1, axis=1) * 2
    expected = {
        (i, j)
        for i in range(1, a.max() + 1)
        for j in range(1, b.max() + 1)
        if ((a == i) & (b == j)).sum() >= 0.5 * max(1, ((a == i) | (b == j)).sum())
    }
    assert expected
    assert {tuple(pair) for pair in matching_pairs(a, b).tolist()} == expected


def test_wrong_shape_is_refused():
    with pytest.raises(ValueError, match="shape"):
        Stitcher((8, 8)).add(Tile(Box(0, 0, 8, 8), Box(0, 0, 8, 8)), np.zeros((8, 7), np.int32))
