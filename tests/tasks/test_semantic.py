"""The U-Net task: padding, learning, saving; whole images of any size."""

import dataclasses
import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.ndimage import gaussian_filter

from cellml.ops.instance_maps import training_maps
from cellml.ops.intensity import intensity_limits, normalise
from cellml.tasks.semantic import (
    Segmenter,
    SegmenterSpec,
    labels_from_maps,
    load_segmenter,
    make_task,
    predict_maps,
    save_segmenter,
)
from cellml.tasks.whole_image import predict_stack, segment_image
from cellml.train.state import create_state
from cellml.train.step import train_step

SPEC = SegmenterSpec(name="tiny", preset="residual", model=(("filters", (16, 16)),))


def _batch(n: int = 2, side: int = 16) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = np.zeros((n, side, side), np.int32)
    labels[:, 2:7, 3:12] = 1
    labels[:, 9:14, 1:6] = 2
    image = (labels > 0)[..., None] + rng.normal(0, 0.1, (n, side, side, 3))
    maps = [training_maps(one) for one in labels]
    return {
        "image": image.astype(np.float32),
        "target": np.stack([m[0] for m in maps]),
        "weight": np.stack([m[1] for m in maps]),
        "valid": np.ones(n, bool),
        "index": np.arange(n, dtype=np.int32),
    }


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    variables = SPEC.unet().init(jax.random.key(0), jnp.zeros((1, 16, 16, 3)))
    return Segmenter(SPEC, variables)


def test_padding_examples_change_no_loss_and_no_metric() -> None:
    task, batch = make_task(SPEC), _batch()
    variables = task.init(jax.random.key(0), batch)
    padded = {k: np.concatenate([v, v[:1]]) for k, v in batch.items()}
    padded["image"][-1] = 1e3
    padded["valid"][-1] = False
    for found, expected in (
        (task.metrics(variables, padded), task.metrics(variables, batch)),
        (
            task.losses(variables, padded, jax.random.key(1), True)[0],
            task.losses(variables, batch, jax.random.key(1), True)[0],
        ),
    ):
        assert set(found) == set(expected)
        for name in expected:
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, err_msg=name)


def test_every_loss_has_a_weight() -> None:
    task, batch = make_task(SPEC), _batch()
    variables = task.init(jax.random.key(0), batch)
    found, _ = task.losses(variables, batch, jax.random.key(1), True)
    assert set(found) == set(task.weights)


def test_overfits_two_images_to_their_instances() -> None:
    task, batch, tx = make_task(SPEC), _batch(), optax.adam(1e-2)
    state = create_state(jax.random.key(0), task, tx, batch)
    step = jax.jit(functools.partial(train_step, task, tx))
    for i in range(60):
        state, _ = step(state, batch, jax.random.key(i))
    maps = predict_maps(SPEC, {"params": state.params}, jnp.asarray(batch["image"]))
    np.testing.assert_array_equal(np.asarray(maps)[..., 0] > 0.5, batch["target"][..., 0] > 0.5)
    metrics = task.metrics({"params": state.params}, batch)
    assert metrics["iou"][0] / metrics["iou"][1] == 1.0


def test_saved_and_loaded_predicts_the_same(segmenter: Segmenter, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_segmenter(path, segmenter, card={"step": 3})
    loaded = load_segmenter(path)
    assert loaded.spec == segmenter.spec
    image = np.random.default_rng(0).integers(0, 255, (40, 24, 1)).astype(np.uint16)
    np.testing.assert_array_equal(predict_stack(loaded, image), predict_stack(segmenter, image))


def test_unknown_model_and_foreign_spec_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown model 'cells'; known:"):
        load_segmenter("cells")
    with pytest.raises(FileNotFoundError, match=r"missing\.safetensors"):
        load_segmenter(tmp_path / "missing.safetensors")
    with pytest.raises(ValueError, match="unknown fields \\['sharpness'\\]"):
        SegmenterSpec.from_json({"sharpness": 3})


def test_spec_survives_json(segmenter: Segmenter) -> None:
    import json

    text = json.dumps(segmenter.spec.to_json())
    assert SegmenterSpec.from_json(json.loads(text)) == segmenter.spec


def test_spec_of_an_earlier_version_gives_the_labels_it_gave() -> None:
    fields = SPEC.to_json()
    del fields["smooth_px"], fields["score_min"]
    assert SegmenterSpec.from_json(fields) == SPEC


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("foreground_min", 0.8),
        ("seed_distance_min", 0.6),
        ("seed_boundary_max", 0.2),
        ("area_min_px", 90),
        ("smooth_px", 2.0),
        ("score_min", 0.7),
    ],
)
def test_every_threshold_of_the_spec_reaches_post_processing(field: str, value: float) -> None:
    noise = np.random.default_rng(4).uniform(0, 1, (60, 70, 3))
    maps = gaussian_filter(noise, (2, 2, 0)).astype(np.float32)
    maps = (maps - maps.min()) / (maps.max() - maps.min())
    before = labels_from_maps(maps, SPEC)
    after = labels_from_maps(maps, dataclasses.replace(SPEC, **{field: value}))
    assert not np.array_equal(before, after)


@pytest.mark.parametrize("shape", [(16, 16, 3), (50, 37, 1), (64, 65, 3), (8, 9, 1)])
def test_whole_images_of_any_size_equal_the_padded_network(
    segmenter: Segmenter, shape: tuple[int, ...]
) -> None:
    image = np.random.default_rng(1).integers(0, 255, shape).astype(np.uint8)
    stack = predict_stack(segmenter, image, transforms="dissertation6")
    assert stack.shape == (6, *shape[:2], 3)
    pixels = normalise(image, intensity_limits(image, SPEC.percentiles))
    pad = [(0, -n % 64) for n in shape[:2]]
    padded = np.pad(pixels, [*pad, (0, 0)], mode="reflect")
    direct = predict_maps(SPEC, segmenter.variables, jnp.asarray(padded)[None])[0]
    np.testing.assert_allclose(stack[0], np.asarray(direct)[: shape[0], : shape[1]], atol=2e-6)


def test_tta_of_a_symmetric_image_is_symmetric(segmenter: Segmenter) -> None:
    quarter = np.random.default_rng(2).integers(0, 255, (32, 32)).astype(np.uint8)
    half = np.concatenate([quarter, quarter[:, ::-1]], axis=1)
    image = np.concatenate([half, half[::-1]], axis=0)[..., None]
    mean = predict_stack(segmenter, image, transforms="d4").mean(axis=0)
    np.testing.assert_allclose(mean, mean[::-1], atol=1e-5)
    np.testing.assert_allclose(mean, mean[:, ::-1], atol=1e-5)
    alone = predict_stack(segmenter, image)[0]
    assert np.abs(alone - alone[::-1]).max() > 1e-3  # the network itself is not symmetric


def test_segment_image_gives_contiguous_labels(segmenter: Segmenter) -> None:
    image = np.random.default_rng(3).integers(0, 60_000, (33, 47, 1)).astype(np.uint16)
    labels = segment_image(segmenter, image, transforms="d4")
    assert labels.shape == (33, 47)
    assert labels.dtype == np.int32
    assert set(np.unique(labels)) | {0} == set(range(labels.max() + 1))
