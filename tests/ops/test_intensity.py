"""Normalisation: dtypes, flat and sparse images, channels, invariance to an affine change."""

import numpy as np
import pytest

from cellml.ops.intensity import intensity_limits, normalise


def _image(dtype: type = np.uint8, channels: int = 1) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, 200, (20, 31, channels)).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32, np.float64])
def test_any_dtype_gives_the_same_normalised_image(dtype: type) -> None:
    image = _image()
    expected = normalise(image, intensity_limits(image))
    scaled = _image(dtype) * dtype(1) + dtype(7)  # an offset and a dtype change nothing
    found = normalise(scaled, intensity_limits(scaled))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_limits_are_the_percentiles_over_all_channels() -> None:
    image = np.arange(1000, dtype=np.uint16).reshape(10, 25, 4)
    assert intensity_limits(image, (0.0, 100.0)) == (0.0, 999.0)
    low, high = intensity_limits(image, (10.0, 90.0))
    assert (low, high) == pytest.approx((99.9, 899.1))


def test_flat_image_is_finite_and_sparse_image_keeps_its_nuclei() -> None:
    flat = np.full((16, 16, 1), 7, np.uint8)
    assert np.all(normalise(flat, intensity_limits(flat)) == 0)
    sparse = np.zeros((200, 200, 1), np.uint8)
    sparse[3:5, 3:5] = 90  # .01 % of the pixels: percentiles alone would see nothing
    assert normalise(sparse, intensity_limits(sparse)).max() == 1.0


def test_channels_are_repeated_averaged_or_refused() -> None:
    grey, colour = _image(), _image(channels=3)
    assert normalise(grey[..., 0], (0.0, 1.0), channels=3).shape == (20, 31, 3)
    np.testing.assert_allclose(
        normalise(colour, (0.0, 200.0), channels=1)[..., 0], colour.mean(axis=-1) / 200, rtol=1e-5
    )
    with pytest.raises(ValueError, match="expected 1 or 3 channels, found 2"):
        normalise(_image(channels=2), (0.0, 1.0))


def test_percentiles_out_of_order_are_refused() -> None:
    with pytest.raises(ValueError, match="lower < upper"):
        intensity_limits(_image(), (99.0, 1.0))
