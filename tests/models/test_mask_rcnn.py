"""Mask R-CNN: heads against NumPy, order of anchors, shapes of all presets, gradients."""

from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cellml.models.fpn import FPN
from cellml.models.mask_rcnn import BoxHead, MaskHead, MaskRCNN, RegionProposals
from cellml.models.mask_rcnn_settings import PRESETS, MaskRCNNSettings, make_settings
from cellml.models.resnet import BACKBONES, Layout
from tests.models import numpy_layers as layers
from tests.models.test_resnet import random_variables

SMALL: dict[str, Any] = {
    "backbone_width": 4,
    "fpn_channels": 6,
    "rpn_channels": 8,
    "box_channels": 16,
    "mask_channels": 8,
    "mask_convs": 1,
    "pool_size": 3,
    "mask_pool_size": 4,
}


def _normal(*shape: int, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape, np.float32))


def _shapes(settings: MaskRCNNSettings, side: int = 64) -> tuple[MaskRCNN, Any]:
    model = MaskRCNN(settings)
    image = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    return model, jax.eval_shape(model.init, jax.random.key(0), image)


# Keras prints these totals for the published models; moving statistics count.
@pytest.mark.parametrize(
    ("preset", "expected"),
    [
        ("matterport_coco", 64_158_584),
        ("nucleaizer", 63_733_406),
        ("matterport_nucleus", 44_662_942),
    ],
)
def test_presets_have_the_published_numbers_of_parameters(preset: str, expected: int) -> None:
    _, variables = _shapes(make_settings(preset))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == expected


@pytest.mark.parametrize("preset", sorted(PRESETS))
@pytest.mark.parametrize("agnostic", [False, True])
def test_methods_give_the_shapes_of_the_settings(preset: str, agnostic: bool) -> None:
    settings = make_settings(preset, {"class_agnostic": agnostic})
    model, variables = _shapes(settings, 64)
    image = jax.ShapeDtypeStruct((2, 512, 512, 3), jnp.float32)
    c, k = settings.fpn_channels, settings.n_classes

    def call(method: str, *args: Any) -> Any:
        return jax.eval_shape(lambda v, *a: model.apply(v, *a, method=method), variables, *args)

    pyramid = call("pyramid", image)
    assert [p.shape for p in pyramid] == [(2, n, n, c) for n in (128, 64, 32, 16, 8)]
    logits, deltas = call("propose", pyramid)
    assert (logits.shape, deltas.shape) == ((2, 65_472, 2), (2, 65_472, 4))
    side, mask_side = settings.pool_size, settings.mask_pool_size
    logits, deltas = call("classify", jax.ShapeDtypeStruct((5, side, side, c), jnp.float32))
    assert (logits.shape, deltas.shape) == ((5, k), (5, 1 if agnostic else k, 4))
    masks = call("masks", jax.ShapeDtypeStruct((5, mask_side, mask_side, c), jnp.float32))
    assert masks.shape == (5, 28, 28, 1 if agnostic else k)
    expected = {"params"} if settings.norm == "group" else {"params", "batch_stats"}
    assert set(variables) == expected


def test_fpn_equals_numpy() -> None:
    features = tuple(_normal(1, 16 // s, 32 // s, 3 + s, seed=s) for s in (1, 2, 4, 8))
    model = FPN(5)
    variables = random_variables(model, features)
    params = jax.tree.map(np.asarray, variables["params"])
    merged = None
    expected = []
    for n in (5, 4, 3, 2):
        lateral, output = params[f"lateral{n}"], params[f"output{n}"]
        image = np.asarray(features[n - 2][0], np.float64)
        x = layers.conv(image, lateral["kernel"], lateral["bias"])
        merged = x if merged is None else x + layers.upsample(merged)
        expected.append(layers.conv(merged, output["kernel"], output["bias"], pad=(1, 1)))
    expected = [*expected[::-1], expected[0][::2, ::2]]
    found = jax.jit(model.apply)(variables, features)
    assert [p.shape[1:3] for p in found] == [(16, 32), (8, 16), (4, 8), (2, 4), (1, 2)]
    for level, out in zip(expected, found, strict=True):
        np.testing.assert_allclose(np.asarray(out)[0], level, atol=1e-4)


@pytest.mark.parametrize("stride", [1, 2])
def test_proposals_are_in_the_order_y_x_ratio_with_background_first(stride: int) -> None:
    head = RegionProposals(channels=6, anchors=3, stride=stride)
    x = _normal(2, 4, 8, 5)
    variables = random_variables(head, x)
    params = jax.tree.map(np.asarray, variables["params"])
    logits, deltas = map(np.asarray, jax.jit(head.apply)(variables, x))
    # TensorFlow's SAME on even sides: with a stride of 2 one zero at the end, none in front.
    pad = (1, 1) if stride == 1 else (0, 1)
    for i, image in enumerate(np.asarray(x, np.float64)):
        shared = params["shared"]
        y = layers.conv(image, shared["kernel"], shared["bias"], stride=stride, pad=pad)
        y = layers.relu(y)
        scores = layers.conv(y, params["logits"]["kernel"], params["logits"]["bias"])
        moves = layers.conv(y, params["deltas"]["kernel"], params["deltas"]["bias"])
        rows, columns = 4 // stride, 8 // stride
        assert logits.shape == (2, rows * columns * 3, 2)
        for row in range(rows):
            for column in range(columns):
                for ratio in range(3):
                    anchor = (row * columns + column) * 3 + ratio
                    score = scores[row, column, 2 * ratio : 2 * ratio + 2]
                    move = moves[row, column, 4 * ratio : 4 * ratio + 4]
                    np.testing.assert_allclose(logits[i, anchor], score, atol=1e-4)
                    np.testing.assert_allclose(deltas[i, anchor], move, atol=1e-4)


def test_levels_of_the_proposals_follow_each_other() -> None:
    settings = make_settings("cellml", SMALL)
    model, shapes = _shapes(settings)
    variables = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 0.1), shapes)
    levels = [jnp.full((1, n, n, 6), float(i)) for i, n in enumerate((4, 3, 2, 2, 1))]
    logits, _ = model.apply(variables, levels, method="propose")
    # Every level is constant and brighter than the one before, and so are its inner logits.
    firsts = np.cumsum([0, 3 * 16, 3 * 9, 3 * 4, 3 * 4])
    values = np.asarray(logits)[0, firsts, 0]
    assert (np.diff(values[:4]) > 0).all()
    assert logits.shape[1] == 3 * (16 + 9 + 4 + 4 + 1)


def test_box_head_equals_numpy_with_and_without_norm() -> None:
    x = _normal(4, 3, 3, 5)
    for norm in ("frozen", "group"):
        head = BoxHead(8, n_classes=3, n_boxes=3, norm=norm, bias=norm == "frozen")
        variables = random_variables(head, x)
        arrays = jax.tree.map(np.asarray, variables)
        params = arrays["params"]
        logits, deltas = map(np.asarray, jax.jit(head.apply)(variables, x))
        for i, y in enumerate(np.asarray(x, np.float64)):
            for name in ("hidden1", "hidden2"):
                # A bias is there in both: a layer without a norm needs it.
                y = layers.conv(y, params[name]["conv"]["kernel"], params[name]["conv"]["bias"])
                if norm == "frozen":
                    stats = arrays["batch_stats"][name]["norm"]
                    scale = params[name]["norm"]
                    y = layers.batch_norm(
                        y, scale["scale"], scale["bias"], stats["mean"], stats["var"]
                    )
                y = layers.relu(y)
            flat = y[0, 0]
            found = flat @ params["logits"]["kernel"] + params["logits"]["bias"]
            np.testing.assert_allclose(logits[i], found, atol=1e-4)
            boxes = flat @ params["deltas"]["kernel"] + params["deltas"]["bias"]
            for k in range(3):
                np.testing.assert_allclose(deltas[i, k], boxes[4 * k : 4 * k + 4], atol=1e-4)


def test_mask_head_equals_numpy_and_linens_transposed_convolution() -> None:
    head = MaskHead(channels=16, convs=1, n_masks=2, norm="group", bias=False)
    x = _normal(2, 4, 4, 5)
    variables = random_variables(head, x)
    params = jax.tree.map(np.asarray, variables["params"])
    found = np.asarray(jax.jit(head.apply)(variables, x))
    deconv = nn.ConvTranspose(16, (2, 2), (2, 2), padding="VALID", transpose_kernel=True)
    for image, out in zip(np.asarray(x, np.float64), found, strict=True):
        conv = params["conv1"]
        y = layers.conv(image, conv["conv"]["kernel"], pad=(1, 1))
        y = layers.relu(layers.group_norm(y, conv["norm"]["scale"], conv["norm"]["bias"], 16))
        large = layers.deconv_2x2(y, params["deconv"]["kernel"], params["deconv"]["bias"])
        theirs = deconv.apply({"params": params["deconv"]}, jnp.asarray(y[None], jnp.float32))
        np.testing.assert_allclose(np.asarray(theirs)[0], large, atol=1e-4)
        logits = params["logits"]
        expected = layers.conv(layers.relu(large), logits["kernel"], logits["bias"])
        np.testing.assert_allclose(out, expected, atol=1e-4)


def test_every_parameter_gets_a_finite_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    # One block a stage: most of the time goes into compiling.
    monkeypatch.setitem(cast(dict[str, Layout], BACKBONES), "tiny", Layout(False, (1, 1, 1, 1)))
    model = MaskRCNN(make_settings("cellml", {**SMALL, "backbone": "tiny"}))
    images = _normal(1, 64, 128, 3)
    params = random_variables(model, images)["params"]
    pooled, mask_pooled = _normal(3, 3, 3, 6), _normal(3, 4, 4, 6)

    def loss(params: Any) -> Any:
        variables = {"params": params}
        pyramid: Any = model.apply(variables, images, method="pyramid")
        outputs: list[Any] = [
            *model.apply(variables, pyramid, method="propose"),
            *model.apply(variables, pooled, method="classify"),
            model.apply(variables, mask_pooled, method="masks"),
        ]
        return sum(((x - 0.3) ** 2).mean() for x in outputs) + sum((p**2).mean() for p in pyramid)

    gradients = jax.jit(jax.grad(loss))(params)
    for path, gradient in jax.tree_util.tree_leaves_with_path(gradients):
        values = np.asarray(gradient)
        assert np.isfinite(values).all(), path
        assert np.abs(values).max() > 0, path


def test_heads_start_near_even_odds_and_with_still_boxes() -> None:
    head = RegionProposals(8, 3)
    x = _normal(1, 4, 6, 5)
    (logits, deltas), _ = head.init_with_output(jax.random.key(0), x)
    scores = np.asarray(jax.nn.softmax(logits))[..., 1]
    assert 0.4 < scores.min() < scores.max() < 0.6
    assert 0 < np.abs(np.asarray(deltas)).max() < 0.2
    (logits, deltas), _ = BoxHead(8, 3, 3).init_with_output(jax.random.key(0), _normal(2, 3, 3, 5))
    assert 0 < np.abs(np.asarray(logits)).max() < 0.2
    assert 0 < np.abs(np.asarray(deltas)).max() < 0.02


def test_wrong_sizes_and_backbones_are_refused() -> None:
    model, variables = _shapes(make_settings("cellml", SMALL))
    image = jax.ShapeDtypeStruct((1, 96, 64, 3), jnp.float32)
    with pytest.raises(ValueError, match="multiples of 64, found 96 x 64"):
        jax.eval_shape(lambda v, x: model.apply(v, x, method="pyramid"), variables, image)
    with pytest.raises(ValueError, match="unknown backbone 'vgg16'; known: resnet18"):
        _shapes(make_settings("cellml", {"backbone": "vgg16"}))
