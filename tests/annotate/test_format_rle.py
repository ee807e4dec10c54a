"""Run lengths: against naive decoders, strings of pycocotools, and damaged ones."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellml.annotate.format_rle import (
    compress_counts,
    decode_counts,
    decode_kaggle,
    decompress_counts,
    encode_counts,
    encode_kaggle,
    mask_runs,
    outline_runs,
)
from cellml.annotate.outlines import fill_polygons
from cellml.errors import UserError


def embed(mask: np.ndarray, corner: tuple[int, int], shape: tuple[int, int]) -> np.ndarray:
    whole = np.zeros(shape, bool)
    whole[corner[0] : corner[0] + mask.shape[0], corner[1] : corner[1] + mask.shape[1]] = mask
    return whole


def naive_kaggle(text: str, shape: tuple[int, int]) -> np.ndarray:
    flat = [False] * (shape[0] * shape[1])
    numbers = [int(word) for word in text.split()]
    for start, length in zip(numbers[::2], numbers[1::2], strict=True):
        for place in range(start - 1, start - 1 + length):
            assert not flat[place]
            flat[place] = True
    return np.array(flat).reshape(shape[1], shape[0]).T


def naive_counts(counts: list[int], shape: tuple[int, int]) -> np.ndarray:
    flat: list[bool] = []
    for place, count in enumerate(counts):
        flat += [place % 2 == 1] * count
    return np.array(flat, bool).reshape(shape[1], shape[0]).T


@settings(max_examples=80, deadline=None)
@given(
    st.tuples(st.integers(1, 8), st.integers(1, 8)),
    st.tuples(st.integers(0, 3), st.integers(0, 3)),
    st.tuples(st.integers(0, 3), st.integers(0, 3)),
    st.integers(0, 2**32 - 1),
)
def test_runs_there_and_back(size, corner, rest, seed):
    mask = np.random.default_rng(seed).random(size) > 0.4
    shape = (corner[0] + size[0] + rest[0], corner[1] + size[1] + rest[1])
    whole = embed(mask, corner, shape)
    runs = mask_runs(mask, corner, shape)
    text = encode_kaggle(runs)
    np.testing.assert_array_equal(naive_kaggle(text, shape), whole)
    counts = encode_counts(runs, shape)
    np.testing.assert_array_equal(naive_counts(counts, shape), whole)
    assert all(count > 0 for count in counts[1:])  # runs that touch are one
    packed = compress_counts(counts)
    assert decompress_counts(packed, "x") == counts
    for again in (decode_kaggle(text, shape, "x"), decode_counts(counts, shape, "x")):
        np.testing.assert_array_equal(fill_polygons(outline_runs(again, shape), shape), whole)


@pytest.mark.parametrize(
    ("boxes", "packed"),  # half-open rows and columns; strings by pycocotools 2.0.11
    [
        ([], "PVe3"),
        ([(0, 0, 300, 400)], "0PVe3"),
        ([(0, 0, 1, 1)], "01oUe3"),
        ([(299, 399, 300, 400)], "oUe31"),
    ],
)
def test_strings_equal_those_of_pycocotools(boxes, packed):
    shape = (300, 400)
    whole = np.zeros(shape, bool)
    for y0, x0, y1, x1 in boxes:
        whole[y0:y1, x0:x1] = True
    runs = mask_runs(whole, (0, 0), shape)
    assert compress_counts(encode_counts(runs, shape)) == packed
    assert decompress_counts(packed, "x") == encode_counts(runs, shape)


def test_runs_in_any_order_are_read():
    shape = (3, 4)
    runs = decode_kaggle("8 2 1 2", shape, "x")
    np.testing.assert_array_equal(
        fill_polygons(outline_runs(runs, shape), shape), naive_kaggle("1 2 8 2", shape)
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 2 3", "pairs"),
        ("1 x", "whole numbers"),
        ("0 2", "beyond the image"),
        ("11 3", "beyond the image"),
        ("1 -2", "beyond the image"),
        ("99999999999999999999 1", "whole numbers"),
        ("9223372036854775807 9", "beyond the image"),
    ],
)
def test_bad_pairs_are_one_line(text, message):
    with pytest.raises(UserError, match=message):
        decode_kaggle(text, (3, 4), "t.csv, line 2")


def test_bad_counts_are_one_line():
    with pytest.raises(UserError, match="add up to 11, 3 x 4 pixels expected"):
        decode_counts([5, 6], (3, 4), "a")
    with pytest.raises(UserError, match="add up"):
        decode_counts([14, -2], (3, 4), "a")
    with pytest.raises(UserError, match="packed counts"):
        decompress_counts("1 ", "a")
    with pytest.raises(UserError, match="middle"):
        decompress_counts("P", "a")
