"""Augmentation against plain NumPy, legacy resizing by hand, intensities against the host's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cellml.data.crops import normalise
from cellml.ops.crop_augmentation import (
    Augmentation,
    AugmentationSettings,
    apply,
    augment,
    draw,
    resize_legacy,
    scale_intensity,
)

SIDE = 10


@pytest.fixture(scope="module")
def crops():
    return np.random.default_rng(0).random((6, SIDE, SIDE, 3)).astype(np.float32)


def bilinear(image: np.ndarray, side: int) -> np.ndarray:
    """Half-pixel centres, borders repeated: one output pixel after the other."""
    height, width, _ = image.shape
    out = np.empty((side, side, image.shape[2]))
    for i in range(side):
        for j in range(side):
            y = min(max((i + 0.5) * height / side - 0.5, 0), height - 1)
            x = min(max((j + 0.5) * width / side - 0.5, 0), width - 1)
            y0, x0 = int(y), int(x)
            y1, x1 = min(y0 + 1, height - 1), min(x0 + 1, width - 1)
            top = image[y0, x0] * (1 - (x - x0)) + image[y0, x1] * (x - x0)
            bottom = image[y1, x0] * (1 - (x - x0)) + image[y1, x1] * (x - x0)
            out[i, j] = top * (1 - (y - y0)) + bottom * (y - y0)
    return out


def plain(image: np.ndarray, a: Augmentation, i: int) -> np.ndarray:
    side, top, left = int(a.side[i]), int(a.top[i]), int(a.left[i])
    out = bilinear(image[top : top + side, left : left + side], len(image))
    if a.flip[i]:
        out = out[:, ::-1]
    out = np.rot90(out, int(a.turns[i]))
    out = out + np.asarray(a.brightness[i])
    mean = out.mean((0, 1))
    return (out - mean) * np.asarray(a.contrast[i]) + mean


def test_apply_is_part_flip_turn_brightness_contrast_in_this_order(crops) -> None:
    drawn = Augmentation(
        side=jnp.asarray([10, 8, 9, 8, 10, 9]),
        top=jnp.asarray([0, 1, 0, 2, 0, 1]),
        left=jnp.asarray([0, 2, 1, 0, 0, 0]),
        flip=jnp.asarray([False, True, False, True, True, False]),
        turns=jnp.asarray([0, 1, 2, 3, 0, 1]),
        brightness=jnp.asarray(np.linspace(-0.1, 0.1, 18).reshape(6, 3), jnp.float32),
        contrast=jnp.asarray(np.linspace(0.8, 1.2, 18).reshape(6, 3), jnp.float32),
    )
    found = np.asarray(jax.jit(apply)(jnp.asarray(crops), drawn))
    for i, crop in enumerate(crops):
        np.testing.assert_allclose(found[i], plain(crop, drawn, i), atol=2e-6)


def test_draws_have_the_published_ranges() -> None:
    settings = AugmentationSettings()
    a = draw(jax.random.key(0), count=4000, side=96, channels=5, settings=settings)
    side, zoomed = np.asarray(a.side), np.asarray(a.side) < 96
    assert abs(zoomed.mean() - 0.5) < 0.03
    assert set(side[zoomed]) == set(range(76, 96))
    for start in (a.top, a.left):
        assert (np.asarray(start) >= 0).all()
        assert (np.asarray(start) + side <= 96).all()
    assert (np.asarray(a.top)[side == 76]).max() == 20  # the last place is taken, too
    assert abs(np.asarray(a.flip).mean() - 0.5) < 0.03
    np.testing.assert_allclose(np.bincount(np.asarray(a.turns)) / 4000, 0.25, atol=0.03)
    for values, middle, reach in ((a.brightness, 0, 0.1), (a.contrast, 1, 0.2)):
        spread = np.asarray(values) - middle
        assert 0.99 * reach < spread.max() <= reach
        assert -reach <= spread.min() < -0.99 * reach
    assert (
        abs(np.corrcoef(np.asarray(a.brightness)[:, 0], np.asarray(a.brightness)[:, 1])[0, 1]) < 0.1
    )


def test_settings_of_nothing_change_nothing(crops) -> None:
    settings = AugmentationSettings(0.0, 0.8, 0.0, False, 0.0, 0.0)
    found = augment(jax.random.key(1), jnp.asarray(crops), settings)
    np.testing.assert_allclose(found, crops, atol=1e-6)


def test_legacy_resize_samples_at_multiples_of_the_step_without_half_pixels() -> None:
    image = np.arange(4, dtype=np.float32)[None, :, None, None] * np.ones((1, 4, 4, 1), np.float32)
    found = np.asarray(resize_legacy(jnp.asarray(image), 8))
    np.testing.assert_allclose(found[0, :, 0, 0], [0, 0.5, 1, 1.5, 2, 2.5, 3, 3])
    across = np.asarray(resize_legacy(jnp.asarray(image.swapaxes(1, 2)), 8))
    np.testing.assert_allclose(across[0, 0, :, 0], found[0, :, 0, 0])
    smaller = np.asarray(resize_legacy(jnp.asarray(image), 3))
    np.testing.assert_allclose(smaller[0, :, 1, 0], [0, 4 / 3, 8 / 3], rtol=1e-6)


@pytest.mark.parametrize("how", ["minmax", "deepprofiler-legacy"])
def test_intensities_equal_those_of_the_host(how: str) -> None:
    stored = np.random.default_rng(1).integers(100, 60000, (4, 7, 7, 2)).astype(np.uint16)
    stored[2, :, :, 1] = 500  # flat
    found = np.asarray(scale_intensity(jnp.asarray(stored), how))
    np.testing.assert_allclose(found, normalise(stored, how), atol=1e-6)
    assert not found[2, :, :, 1].any()


def test_intensity_none_divides_by_the_range_of_the_dtype_and_others_are_refused() -> None:
    stored = jnp.asarray([[[[0], [255]]]], jnp.uint8)
    np.testing.assert_array_equal(scale_intensity(stored, "none").ravel(), [0, 1])
    with pytest.raises(ValueError, match="expected one of minmax"):
        scale_intensity(stored, "max")
