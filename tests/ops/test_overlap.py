"""Overlap tables, against naive loops."""

from functools import partial

import jax
import numpy as np
import pytest

from cellml.ops.overlap import (
    iou_from_overlap,
    overlap_pairs_host,
    overlap_table,
    overlap_table_host,
)


def pair_of_images(seed=0, n=7, dtype=np.int32):
    rng = np.random.default_rng(seed)
    return rng.integers(0, n, (2, 11, 13)).astype(dtype)


def naive_table(a, b, n):
    table = np.zeros((n, n), int)
    for i, j in zip(a.ravel().tolist(), b.ravel().tolist(), strict=True):
        table[i, j] += 1
    return table


@pytest.mark.parametrize("dtype", [np.int32, np.uint16, np.uint8])
def test_table_equals_naive_loops(dtype):
    a, b = pair_of_images(dtype=dtype)
    expected = naive_table(a, b, 9)
    run = partial(overlap_table, max_instances=9)
    for found in (run(a, b), jax.jit(run)(a, b), overlap_table_host(a, b, max_instances=9)):
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(expected.sum(1), np.bincount(a.ravel(), minlength=9))
    fitted = overlap_table_host(a, b)
    np.testing.assert_array_equal(fitted, expected[: a.max() + 1, : b.max() + 1])


def test_vmap_equals_loop():
    batch = np.stack([pair_of_images(s) for s in range(3)])
    run = partial(overlap_table, max_instances=7)
    found = jax.vmap(run)(batch[:, 0], batch[:, 1])
    for one, (a, b) in zip(found, batch, strict=True):
        np.testing.assert_array_equal(one, naive_table(a, b, 7))


@pytest.mark.parametrize("spread", [1, 1000])
def test_pairs_are_the_entries_of_the_table(spread):
    """With ids spread out the dense count gives way to a sort."""
    a, b = pair_of_images(3)
    table = naive_table(a, b, 7)
    rows, columns = np.nonzero(table[1:, 1:])
    found = overlap_pairs_host(a * spread, b * spread)
    expected = (rows + 1) * spread, (columns + 1) * spread, table[rows + 1, columns + 1]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_iou():
    a = np.array([[1, 1, 1, 2, 0, 0]], np.int32)
    b = np.array([[2, 2, 0, 1, 1, 0]], np.int32)
    iou = np.asarray(iou_from_overlap(overlap_table(a, b, max_instances=4)))
    expected = np.zeros((4, 4))
    expected[1, 2], expected[2, 1] = 2 / 3, 1 / 2
    np.testing.assert_allclose(iou, expected, atol=1e-7)


def test_ids_out_of_range():
    a = np.array([[0, 1, 5]], np.int32)
    b = np.array([[0, 1, 1]], np.int32)
    assert overlap_table(a, b, max_instances=3).sum() == 2
    assert overlap_table(a - 1, b, max_instances=3).sum() == 1
    with pytest.raises(ValueError, match=r"first label image .*\[0, 3\), found 0 to 5"):
        overlap_table_host(a, b, max_instances=3)
    with pytest.raises(ValueError, match="second image must hold labels >= 0, found -1"):
        overlap_pairs_host(a, b - 1)


def test_empty_images_and_shapes():
    nothing = np.zeros((0, 4), np.int32)
    assert overlap_table_host(nothing, nothing).tolist() == [[0]]
    assert not overlap_table(nothing, nothing, max_instances=3).any()
    assert all(part.size == 0 for part in overlap_pairs_host(nothing, nothing))
    for function in (partial(overlap_table, max_instances=3), overlap_table_host):
        with pytest.raises(ValueError, match="one shape"):
            function(nothing, nothing.T)
    with pytest.raises(ValueError, match="max_instances must lie"):
        overlap_table(nothing, nothing, max_instances=50_000)
