import numpy as np
import pytest

from cellml.tasks.otsu import nuclear_signal, segment_otsu


def discs(shape, *circles) -> np.ndarray:
    y, x = np.mgrid[: shape[0], : shape[1]]
    return np.any([(y - cy) ** 2 + (x - cx) ** 2 <= r * r for cy, cx, r in circles], axis=0)


FIELD = discs((60, 90), (15, 20, 9), (30, 30, 9), (40, 70, 11))


def same_partition(found: np.ndarray, centres: list[tuple[int, int]]) -> bool:
    labels = [found[y, x] for y, x in centres]
    return 0 not in labels and len(set(labels)) == len(labels) == found.max()


def test_touching_discs_come_apart():
    image = np.where(FIELD, 200, 20).astype(np.uint8)[..., None]
    found = segment_otsu(image)
    assert found.dtype == np.int32
    assert same_partition(found, [(15, 20), (30, 30), (40, 70)])
    assert ((found > 0) == FIELD).mean() > 0.98


def test_grey_stored_as_colour_is_grey():
    grey = np.where(FIELD, 200, 20).astype(np.uint8)[..., None]
    np.testing.assert_array_equal(segment_otsu(np.repeat(grey, 3, -1)), segment_otsu(grey))
    np.testing.assert_array_equal(nuclear_signal(grey), grey[..., 0])


def test_blue_nuclei_on_pink_are_found_though_they_are_dark():
    image = np.where(FIELD[..., None], (80, 60, 150), (235, 170, 210)).astype(np.uint8)
    signal = nuclear_signal(image)
    assert signal[FIELD].min() > signal[~FIELD].max()
    assert same_partition(segment_otsu(image), [(15, 20), (30, 30), (40, 70)])


def test_a_flat_image_has_no_nuclei():
    assert segment_otsu(np.full((8, 9, 1), 3, np.uint16)).max() == 0
    assert segment_otsu(np.zeros((8, 9, 3), np.uint8)).max() == 0


def test_small_parts_are_dropped():
    image = np.where(discs((40, 50), (20, 12, 8), (20, 40, 3)), 1.0, 0.0)[..., None]
    assert segment_otsu(image.astype(np.float32)).max() == 2
    assert segment_otsu(image.astype(np.float32), area_min_px=60).max() == 1


def test_a_stack_of_five_channels_is_refused():
    with pytest.raises(ValueError, match="expected 1 or 3 channels, found 5"):
        segment_otsu(np.zeros((8, 9, 5), np.uint8))
