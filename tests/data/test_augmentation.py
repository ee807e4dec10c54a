"""Augmentation: determinism, exact plain crops, image and labels moving together."""

import dataclasses

import numpy as np
import pytest

from cellml.data.augmentation import AugmentationOptions, augment, jitter_stain

PLAIN = AugmentationOptions(
    crop_px=32, dihedral=False, rotate=False, scale=0.0, elastic_px=0.0, gamma=0.0, contrast=0.0,
    blur_px=0.0, noise=0.0, stain=0.0,
)  # fmt: skip


def _field() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = np.zeros((50, 70), np.int32)
    for i in range(12):
        y, x = rng.integers(0, 40), rng.integers(0, 60)
        labels[y : y + 6, x : x + 9] = i + 1
    image = np.repeat((labels > 0)[..., None], 3, axis=-1).astype(np.float32)
    return image, labels


def test_equal_generators_give_equal_crops_and_others_differ() -> None:
    image, labels = _field()
    options = AugmentationOptions(crop_px=32)
    first, again, other = (
        augment(np.random.default_rng(seed), image, labels, options) for seed in (5, 5, 6)
    )
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])


def test_without_augmentation_a_crop_of_the_whole_size_is_the_image() -> None:
    image, labels = (a[:50, :50] for a in _field())
    options = dataclasses.replace(PLAIN, crop_px=50)
    crop, crop_labels = augment(np.random.default_rng(0), image, labels, options)
    np.testing.assert_allclose(crop, image, atol=1e-6)
    np.testing.assert_array_equal(crop_labels > 0, labels > 0)


@pytest.mark.parametrize("changes", [{"dihedral": True}, {"rotate": True}, {"elastic_px": 3.0}])
def test_image_and_labels_move_together(changes: dict) -> None:
    image, labels = _field()
    options = dataclasses.replace(PLAIN, crop_px=40, **changes)
    for seed in range(6):
        crop, crop_labels = augment(np.random.default_rng(seed), image, labels, options)
        # Bilinear against nearest: they may differ along edges only.
        assert np.mean((crop[..., 0] > 0.5) != (crop_labels > 0)) < 0.03


def test_a_crop_larger_than_the_image_is_mirrored_and_labels_stay_connected() -> None:
    image, labels = (a[:20, :20] for a in _field())
    options = dataclasses.replace(PLAIN, crop_px=64)
    crop, crop_labels = augment(np.random.default_rng(0), image, labels, options)
    assert crop.shape == (64, 64, 3)
    assert set(np.unique(crop_labels)) == set(range(crop_labels.max() + 1))
    assert crop_labels.max() > len(np.unique(labels)) - 1


def test_scale_changes_the_size_of_nuclei_within_its_bounds() -> None:
    labels = np.zeros((128, 128), np.int32)
    labels[44:84, 44:84] = 1
    image = (labels > 0)[..., None].astype(np.float32)
    options = dataclasses.replace(PLAIN, crop_px=128, scale=0.5)
    sides = []
    for seed in range(20):
        _, crop_labels = augment(np.random.default_rng(seed), image, labels, options)
        sides.append(np.sqrt(np.count_nonzero(crop_labels)))
    assert min(sides) > 40 / 1.5 - 2
    assert max(sides) < 40 * 1.5 + 2
    assert max(sides) - min(sides) > 10


def test_noise_on_a_grey_image_keeps_it_grey() -> None:
    image, labels = _field()
    options = dataclasses.replace(PLAIN, noise=0.2)
    spread = [
        np.ptp(augment(np.random.default_rng(s), image, labels, options)[0], axis=-1).max()
        for s in range(8)
    ]
    assert max(spread) < 1e-6


def test_stain_jitter_of_nothing_changes_nothing_and_white_stays_white() -> None:
    rng = np.random.default_rng(0)
    image = rng.uniform(0.1, 0.9, (8, 8, 3)).astype(np.float32)
    np.testing.assert_allclose(jitter_stain(rng, image, 0.0), image, atol=1e-5)
    white = np.ones((4, 4, 3), np.float32)
    np.testing.assert_allclose(jitter_stain(rng, white, 0.5), white, atol=1e-5)
