"""The dissertation's pieces and copies: coverage, enlargement, the six transforms."""

import numpy as np
import pytest

from cellml import tta
from cellml.data.dissertation import COPIES, SixCopies, SquarePieces, enlarge, enlarged_shape


def _record(height: int, width: int) -> dict:
    labels = np.arange(height * width, dtype=np.uint16).reshape(height, width) % 60_000
    return {"id": "a", "image": np.repeat(labels[..., None], 3, -1), "labels": labels}


def test_pieces_cover_every_pixel_and_keep_image_and_labels_together() -> None:
    record = _record(70, 50)
    pieces = SquarePieces([record], side_px=32)
    assert len(pieces) == 3 * 2
    seen = np.concatenate([p["labels"].ravel() for p in pieces])
    assert set(seen.tolist()) == set(record["labels"].ravel().tolist())
    for piece in pieces:
        assert piece["labels"].shape == (32, 32)
        np.testing.assert_array_equal(piece["image"][..., 1], piece["labels"])
    assert len({p["id"] for p in pieces}) == 6


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((256, 256), (512, 512)), ((256, 320), (512, 640)), ((520, 696), (520, 696))],
)
def test_smaller_images_are_enlarged_in_proportion(
    shape: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert enlarged_shape(shape, 512) == expected


def test_enlarging_keeps_dtypes_and_labels() -> None:
    labels = np.zeros((20, 30), np.uint16)
    labels[4:9, 5:12] = 3
    image = np.full((20, 30, 1), 200, np.uint8)
    large, large_labels = enlarge(image, labels, 40)
    assert (large.dtype, large_labels.dtype) == (np.uint8, np.uint16)
    assert large.shape == (40, 60, 1)
    assert set(np.unique(large_labels)) == {0, 3}
    np.testing.assert_array_equal(large_labels[::2, ::2], labels)


def test_six_copies_are_the_transforms_of_the_dissertation() -> None:
    record = _record(9, 9)
    copies = SixCopies([record, record])
    assert len(copies) == 12
    assert [t.name for t in tta.PRESETS["dissertation6"]] == list(COPIES)
    for i, transform in enumerate(tta.PRESETS["dissertation6"]):
        expected = transform.apply(record["labels"], axes=(-2, -1))
        np.testing.assert_array_equal(copies[6 + i]["labels"], expected)
        np.testing.assert_array_equal(copies[6 + i]["image"][..., 0], expected)
