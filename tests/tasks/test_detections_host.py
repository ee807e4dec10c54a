"""Masks pasted into label images: place, resampling, who wins an overlap, degenerate boxes."""

from collections.abc import Sequence

import numpy as np
import pytest

from cellml.tasks.detections_host import paste


def _paste(boxes: Sequence[Sequence[float]], scores: Sequence[float], **options):
    n = len(boxes)
    masks = np.ones((n, 4, 4), np.float32)
    given = options.pop("masks", masks)
    return paste(
        np.array(boxes, np.float32).reshape(n, 4),
        np.array(scores, np.float32),
        given,
        options.pop("valid", np.ones(n, bool)),
        (20, 24),
        **options,
    )


def test_a_full_mask_fills_its_box_and_nothing_else() -> None:
    found = _paste([[3, 4, 9, 15]], [0.8])
    expected = np.zeros((20, 24), np.int32)
    expected[3:9, 4:15] = 1
    np.testing.assert_array_equal(found.labels, expected)
    np.testing.assert_array_equal(found.probability, expected)
    np.testing.assert_allclose(found.scores, [0.8])


def test_pixels_belong_to_a_fractional_box_by_their_centres() -> None:
    found = _paste([[2.4, 2.6, 5.4, 5.6]], [0.8])
    assert found.labels[2:5, 3:6].all()
    assert found.labels.sum() == 9


def test_whole_pixels_round_the_box_first() -> None:
    found = _paste([[2.6, 2.6, 5.6, 5.6]], [0.8], whole_px=True)
    assert found.labels[3:6, 3:6].all()
    assert found.labels.sum() == 9


def test_half_a_mask_gives_half_a_box() -> None:
    mask = np.zeros((1, 4, 4), np.float32)
    mask[0, :2] = 1
    found = _paste([[0, 0, 8, 6]], [0.9], masks=mask)
    assert found.labels[:4, :6].all()
    assert found.labels.sum() == 24
    # bilinear: a quarter of a mask pixel from the border between them
    np.testing.assert_allclose(found.probability[3, :6], 0.75)


@pytest.mark.parametrize(("overlap", "winner"), [("highest", 1), ("lowest", 2)])
def test_contested_pixels(overlap: str, winner: int) -> None:
    found = _paste([[0, 0, 6, 6], [3, 3, 9, 9]], [0.6, 0.9], overlap=overlap)
    # labels are numbered by falling score
    np.testing.assert_allclose(found.scores, [0.9, 0.6])
    assert found.labels[8, 8] == 1
    assert found.labels[0, 0] == 2
    assert (found.labels[3:6, 3:6] == winner).all()


def test_what_is_covered_or_too_small_is_dropped_and_labels_have_no_gaps() -> None:
    boxes = [[0, 0, 10, 10], [2, 2, 5, 5], [12, 12, 14, 13], [12, 15, 18, 20]]
    found = _paste(boxes, [0.9, 0.8, 0.7, 0.6], area_min_px=3)
    assert list(np.unique(found.labels)) == [0, 1, 2]
    np.testing.assert_allclose(found.scores, [0.9, 0.6])


def test_invalid_rows_empty_boxes_and_boxes_beyond_the_image() -> None:
    boxes = [[0, 0, 5, 5], [4, 4, 4, 9], [15, 20, 40, 60], [-8, -8, -2, -1]]
    found = _paste(boxes, [0.9, 0.8, 0.7, 0.6], valid=np.array([False, True, True, True]))
    assert found.labels.max() == 1
    assert (found.labels[15:, 20:] == 1).all()
    assert found.labels.sum() == 20
    empty = _paste([], [], masks=np.zeros((0, 4, 4), np.float32), valid=np.zeros(0, bool))
    assert not empty.labels.any()
    assert empty.scores.shape == (0,)


def test_unknown_overlap_is_named() -> None:
    with pytest.raises(ValueError, match="unknown 'middle'; known: highest, lowest"):
        _paste([[0, 0, 5, 5]], [0.5], overlap="middle")
