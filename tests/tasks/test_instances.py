"""Mask R-CNN as a task: losses and padding, learning two images by heart, saving, whole images."""

import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cellml.data.instance_batching import InstanceRecipe
from cellml.metrics.scores import evaluate_labels
from cellml.tasks.instances import (
    InstanceSegmenter,
    InstanceSpec,
    detect,
    load_instance_segmenter,
    make_task,
    save_instance_segmenter,
    segment_images,
)
from cellml.train.state import create_state
from cellml.train.step import train_step

SIDE = 64
SMALL = {
    "backbone_width": 16,
    "fpn_channels": 32,
    "rpn_channels": 32,
    "box_channels": 64,
    "mask_channels": 32,
    "mask_convs": 2,
    "anchor_scales": (8.0, 16.0, 32.0, 64.0, 128.0),
    "rpn_train_anchors": 64,
    "pre_nms": 300,
    "post_nms_train": 64,
    "post_nms_inference": 64,
    "train_rois": 32,
    "max_instances": 12,
    "mini_mask_px": 28,
    "max_detections": 24,
}
SPEC = InstanceSpec(name="small", changes=tuple(SMALL.items()))
PARITY = InstanceSpec(
    name="parity",
    preset="matterport_nucleus",
    percentiles=None,
    changes=tuple({**SMALL, "backbone_width": 4, "post_nms_inference": 40}.items()),
)


def _field(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Ellipses of different brightness on a noisy background, up to eight."""
    rng = np.random.default_rng(seed)
    labels, count = np.zeros((SIDE, SIDE), np.int32), 0
    y, x = np.mgrid[:SIDE, :SIDE]
    while count < 7:
        radius, stretch = rng.uniform(5, 9), rng.uniform(0.7, 1.3)
        cy, cx = rng.uniform(0, SIDE, 2)
        inside = ((y - cy) / radius) ** 2 + ((x - cx) / (radius * stretch)) ** 2 < 1
        if inside.sum() < 40 or (labels[inside] > 0).any():
            continue
        count += 1
        labels[inside] = count
    image = 0.6 * (labels > 0) + 0.1 * (labels % 3) + rng.normal(0, 0.05, labels.shape) + 0.1
    return np.repeat(image[..., None], 3, axis=-1).astype(np.float32), labels


def _batch(*fields: tuple[np.ndarray, np.ndarray]) -> dict[str, np.ndarray]:
    recipe = InstanceRecipe(max_instances=12, mini_mask_px=28)
    rows = [recipe.example(image, labels, i) for i, (image, labels) in enumerate(fields)]
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


FIELDS = (_field(0), _field(1))
EMPTY = (FIELDS[0][0], np.zeros((SIDE, SIDE), np.int32))


@pytest.fixture(scope="module")
def variables() -> dict:
    return dict(jax.jit(make_task(SPEC).init)(jax.random.key(0), _batch(FIELDS[0])))


@pytest.fixture(scope="module")
def value_and_grad():
    """Total loss, losses and gradient of the small model for a batch of two."""
    task = make_task(SPEC)

    def total(params: dict, batch: dict, key: jax.Array):
        losses, _ = task.losses({"params": params}, batch, key, True)
        means = {n: s / jnp.maximum(c, 1.0) for n, (s, c) in losses.items()}
        return sum(means.values(), jnp.zeros(())), losses

    return jax.jit(jax.value_and_grad(total, has_aux=True))


def test_every_loss_is_finite_and_reaches_its_part(variables: dict, value_and_grad) -> None:
    (_, losses), grads = value_and_grad(variables["params"], _batch(*FIELDS), jax.random.key(1))
    assert set(losses) == set(make_task(SPEC).weights)
    assert all(float(count) > 0 for _, count in losses.values())
    for part in ("backbone", "fpn", "rpn", "box", "mask"):
        assert float(optax.tree.norm(grads[part])) > 0, part


def test_images_without_objects_have_finite_losses_and_gradients(
    variables: dict, value_and_grad
) -> None:
    batch = _batch(EMPTY, EMPTY)
    (total, losses), grads = value_and_grad(variables["params"], batch, jax.random.key(1))
    assert np.isfinite(float(total))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))
    assert {name for name, (_, count) in losses.items() if float(count) == 0} == {
        "rpn_box", "box", "mask",
    }  # fmt: skip


def test_padding_examples_and_padded_objects_change_no_loss(
    variables: dict, value_and_grad
) -> None:
    batch = _batch(FIELDS[0], FIELDS[1])
    batch["valid"][1] = False
    (_, expected), _ = value_and_grad(variables["params"], batch, jax.random.key(1))
    batch["image"][1], batch["boxes"][1] = 7.0, 3.0
    padding = ~batch["box_valid"][0]
    assert padding.any()
    batch["boxes"][0, padding] = [5, 5, 30, 30]
    batch["masks"][0, padding] = 1
    (_, found), _ = value_and_grad(variables["params"], batch, jax.random.key(1))
    for name, (total, count) in expected.items():
        np.testing.assert_allclose(found[name][0], total, rtol=1e-4, err_msg=name)
        np.testing.assert_array_equal(found[name][1], count, err_msg=name)


def test_parity_preset_trains_no_head_without_objects() -> None:
    batch = _batch(EMPTY)
    task = make_task(PARITY)
    start = jax.jit(task.init)(jax.random.key(0), batch)
    assert "batch_stats" in start
    losses, state = jax.jit(task.losses, static_argnums=3)(start, batch, jax.random.key(1), True)
    assert float(losses["class"][1]) == 0  # background regions follow the positive ones
    jax.tree.map(np.testing.assert_array_equal, state, {"batch_stats": start["batch_stats"]})


def test_learns_two_images_by_heart(tmp_path: Path) -> None:
    """Then saves, loads, and finds the same; jitted halves equal the pure whole."""
    task, batch, steps = make_task(SPEC), _batch(*FIELDS), 300
    tx = optax.adam(optax.cosine_decay_schedule(3e-3, steps))
    state = create_state(jax.random.key(0), task, tx, batch)
    step = jax.jit(functools.partial(train_step, task, tx), donate_argnums=0)
    for i in range(steps):
        state, _ = step(state, batch, jax.random.key(i))
    segmenter = InstanceSegmenter(SPEC, {"params": state.params})
    found = segment_images(segmenter, batch["image"])
    scores = [
        evaluate_labels(labels, one.labels).ap_dsb2018
        for (_, labels), one in zip(FIELDS, found, strict=True)
    ]
    assert np.mean(scores) > 0.9, scores

    save_instance_segmenter(tmp_path / "model.safetensors", segmenter, card={"step": steps})
    loaded = load_instance_segmenter(tmp_path / "model.safetensors")
    assert loaded.spec == SPEC.frozen()
    assert loaded.spec.settings == SPEC.settings
    again = segment_images(loaded, batch["image"])
    np.testing.assert_array_equal(again[0].labels, found[0].labels)

    whole = jax.jit(functools.partial(detect, SPEC))(segmenter.variables, batch["image"])
    assert whole.masks.shape == (2, 24, 28, 28)
    assert int(whole.valid[0].sum()) == len(found[0].scores)
    np.testing.assert_allclose(
        np.asarray(whole.scores)[0][np.asarray(whole.valid)[0]], found[0].scores, rtol=1e-3
    )


def test_enlarged_images_give_boxes_in_their_own_pixels() -> None:
    spec = InstanceSpec(changes=(*SMALL.items(), ("score_min", 0.0)), enlarge=2)
    assert spec.stride == 32
    start = jax.jit(make_task(spec).init)(jax.random.key(0), _batch(FIELDS[0]))
    image = FIELDS[0][0][None, :32]
    found = jax.jit(functools.partial(detect, spec))(start, image)
    boxes = np.asarray(found.boxes)[np.asarray(found.valid)]
    assert len(boxes)
    assert (boxes[:, 2] <= 32).all()
    assert (boxes[:, 3] <= 64).all()
    assert boxes[:, 3].max() > 32


def test_spec_survives_json_and_unknown_fields_are_named() -> None:
    for spec in (SPEC, PARITY):
        assert InstanceSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec
    with pytest.raises(ValueError, match="unknown fields \\['sharpness'\\]"):
        InstanceSpec.from_json({"sharpness": 3})
    with pytest.raises(ValueError, match="unknown \\['colour'\\]"):
        _ = InstanceSpec(changes=(("colour", 1),)).settings
    with pytest.raises(ValueError, match="unknown Mask R-CNN preset 'best'"):
        _ = InstanceSpec(preset="best").settings


def test_a_unet_is_no_instance_segmenter(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected weights of an instance segmenter, found segm"):
        load_instance_segmenter("nuclei")
    with pytest.raises(ValueError, match="unknown model 'cells'; known:"):
        load_instance_segmenter("cells")
