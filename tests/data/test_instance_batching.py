"""Boxes and masks of label images, padding, the cap on objects, batches that resume."""

import logging

import numpy as np
import pytest

from cellml.data.augmentation import AugmentationOptions
from cellml.data.instance_batching import (
    InstanceRecipe,
    instance_evaluation_batches,
    instance_training_batches,
    mini_mask,
    objects,
)


def _labels() -> np.ndarray:
    labels = np.zeros((40, 48), np.int32)
    labels[3:9, 4:16] = 2
    labels[3:5, 4:7] = 0
    labels[20:31, 10:14] = 5
    labels[39, 47] = 7
    return labels


def _record(seed: int = 0) -> dict[str, object]:
    image = np.random.default_rng(seed).integers(0, 255, (40, 48, 1)).astype(np.uint8)
    return {"id": f"field{seed}", "image": image, "labels": _labels(), "modality": "fluorescence"}


def _recipe(rows: int = 4, mini: int = 28) -> InstanceRecipe:
    return InstanceRecipe(max_instances=rows, mini_mask_px=mini)


def test_boxes_are_half_open_in_order_of_labels() -> None:
    boxes, masks = objects(_labels(), 28)
    np.testing.assert_array_equal(boxes, [[3, 4, 9, 16], [20, 10, 31, 14], [39, 47, 40, 48]])
    assert masks.shape == (3, 28, 28)
    assert objects(_labels(), 28, area_min_px=2)[0].shape == (2, 4)
    np.testing.assert_array_equal(objects(_labels(), 0)[1][1], _labels() == 5)


def test_mini_mask_agrees_with_an_independent_bilinear_resampling() -> None:
    from scipy.ndimage import map_coordinates

    rng = np.random.default_rng(0)
    for shape in ((5, 9), (40, 33), (1, 7), (1, 1)):
        mask = rng.random(shape) < 0.6
        grid = [(np.arange(28) + 0.5) * n / 28 - 0.5 for n in shape]
        at = np.meshgrid(*grid, indexing="ij")
        expected = map_coordinates(mask.astype(float), at, order=1, mode="nearest")
        decided = np.abs(expected - 0.5) > 1e-4
        found = mini_mask(mask, 28)
        np.testing.assert_array_equal(found[decided], expected[decided] > 0.5)


def test_rows_beyond_the_objects_are_padding() -> None:
    row = _recipe().example(np.zeros((40, 48, 3), np.float32), _labels(), 3)
    np.testing.assert_array_equal(row["box_valid"], [True, True, False, False])
    np.testing.assert_array_equal(row["classes"], [1, 1, 0, 0])
    assert not row["boxes"][2:].any()
    assert not row["masks"][2:].any()
    assert row["n_left_out"] == 0


def test_objects_beyond_the_cap_are_left_out_with_one_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    recipe = _recipe(rows=1)
    image = np.zeros((40, 48, 3), np.float32)
    with caplog.at_level(logging.WARNING):
        kept = {
            tuple(
                recipe.example(image, _labels(), 3, name="plate7", rng=np.random.default_rng(seed))[
                    "boxes"
                ][0]
            )
            for seed in range(8)
        }
    assert len(kept) == 2  # not always the same object
    assert [r.getMessage() for r in caplog.records] == [
        "image plate7 (row 3): 2 objects, at most 1 are used (settings.max_instances)"
    ]


def test_an_image_without_objects_is_an_example() -> None:
    row = _recipe().example(np.zeros((8, 8, 3), np.float32), np.zeros((8, 8), np.int32), 0)
    assert not row["box_valid"].any()
    assert row["masks"].shape == (4, 28, 28)


def test_batches_depend_on_seed_and_step_alone() -> None:
    source = [_record(i) for i in range(3)]
    options = AugmentationOptions(crop_px=32)
    make = instance_training_batches(source, _recipe(), options, batch_size=2, seed=1)
    stream = make(0)
    for _ in range(3):
        next(stream)
    later = next(stream)
    for name, array in next(make(3)).items():
        np.testing.assert_array_equal(array, later[name], err_msg=name)
    assert later["image"].shape == (2, 32, 32, 3)
    plain = instance_training_batches(source, _recipe(), None, batch_size=1, seed=1)
    assert next(plain(0))["image"].shape == (1, 40, 48, 3)


def test_evaluation_gives_every_image_once_and_tells_mirror_images_apart() -> None:
    batches = list(
        instance_evaluation_batches(
            [_record(i) for i in range(3)], _recipe(), side_px=64, batch_size=2
        )
    )
    assert [len(batch["index"]) for batch in batches] == [2, 1]
    assert batches[0]["image"].shape == (2, 64, 64, 3)
    # the corner pixel is mirrored into a nucleus of 4 px, and 12 rows at the top are mirrored
    assert int(batches[0]["box_valid"].sum(axis=1)[0]) > 2
