"""Training batches: random access, mixing, nothing lost; evaluation sees each image once."""

import numpy as np
import pytest

from cellml.data.augmentation import AugmentationOptions
from cellml.data.batching import MapRecipe, central_square, evaluation_batches, training_batches

OPTIONS = AugmentationOptions(crop_px=24)
RECIPE = MapRecipe()


def _source(n: int = 7) -> list[dict]:
    rng = np.random.default_rng(0)
    records = []
    for i in range(n):
        labels = np.zeros((30 + i, 40), np.uint16)
        labels[5:15, 5 + i : 20] = 1
        records.append(
            {
                "id": f"im{i}",
                "image": rng.integers(0, 255, (30 + i, 40, 1)).astype(np.uint8),
                "labels": labels,
                "modality": "tissue" if i % 3 == 0 else "fluorescence",
            }
        )
    return records


def _batches(seed: int = 0, weights: dict[str, float] | None = None, n: int = 7):
    return training_batches(
        _source(n), RECIPE, OPTIONS, batch_size=3, seed=seed, modality_weights=weights
    )


def test_a_batch_depends_on_its_step_alone() -> None:
    batches = _batches()
    straight = batches(0)
    for _ in range(4):
        next(straight)
    fifth, resumed, other = next(straight), next(_batches()(4)), next(_batches(seed=1)(4))
    for name in fifth:
        np.testing.assert_array_equal(fifth[name], resumed[name], err_msg=name)
    assert not np.array_equal(fifth["image"], other["image"])


def test_shapes_and_dtypes() -> None:
    batch = next(_batches()(0))
    assert {k: (v.shape, v.dtype.name) for k, v in batch.items()} == {
        "image": ((3, 24, 24, 3), "float32"),
        "target": ((3, 24, 24, 3), "float32"),
        "weight": ((3, 24, 24), "float32"),
        "valid": ((3,), "bool"),
        "index": ((3,), "int32"),
    }


def test_every_image_is_seen_once_an_epoch() -> None:
    iterator = _batches(n=6)(0)
    epochs = [np.concatenate([next(iterator)["index"] for _ in range(2)]) for _ in range(3)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(6))
    assert not all(np.array_equal(epoch, epochs[0]) for epoch in epochs)


def test_modalities_are_mixed_by_their_weights() -> None:
    iterator = _batches(weights={"tissue": 0.75, "fluorescence": 0.25})(0)
    seen = np.concatenate([next(iterator)["index"] for _ in range(40)])
    assert np.mean(seen % 3 == 0) == pytest.approx(0.75, abs=0.02)


def test_missing_modality_and_empty_source_are_named() -> None:
    with pytest.raises(ValueError, match=r"no image of \['brightfield'\]"):
        _batches(weights={"brightfield": 1.0})
    with pytest.raises(ValueError, match="found no image"):
        _batches(n=0)


def test_evaluation_sees_each_image_once() -> None:
    batches = list(evaluation_batches(_source(), RECIPE, side_px=32, batch_size=3))
    assert [len(b["index"]) for b in batches] == [3, 3, 1]
    assert np.concatenate([b["index"] for b in batches]).tolist() == list(range(7))
    assert batches[0]["image"].shape == (3, 32, 32, 3)


def test_central_square_cuts_and_mirrors() -> None:
    image = np.arange(6 * 3).reshape(6, 3)
    np.testing.assert_array_equal(central_square(image, 3), image[1:4])
    padded = central_square(image, 5)
    assert padded.shape == (5, 5)
    np.testing.assert_array_equal(padded[:, 1:4], image[0:5])
    np.testing.assert_array_equal(padded[:, 0], image[0:5, 0])


def test_unweighted_recipe_gives_weight_one() -> None:
    recipe = MapRecipe(heads=("foreground",), weighted=False)
    batch = next(iter(evaluation_batches(_source(), recipe, side_px=32, batch_size=2)))
    assert batch["target"].shape[-1] == 1
    assert np.all(batch["weight"] == 1)
