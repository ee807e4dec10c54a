"""EfficientNet: published counts, training statistics, drop-connect, folding, features."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cellml.models.efficientnet import VARIANTS, EfficientNet, embed, feature_count, fold
from cellml.models.efficientnet_blocks import (
    Block,
    BlockSpec,
    Conv,
    DepthwiseConv,
    Norm,
    NormSettings,
    block_specs,
    round_filters,
)
from tests.models.keras_efficientnet import B0
from tests.models.test_resnet import random_variables

BATCH = NormSettings("batch", 1e-3, 0.99, None)


def _normal(*shape: int, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape, np.float32))


@pytest.fixture(scope="module")
def images() -> jax.Array:
    return _normal(5, 32, 40, 2)


@pytest.fixture(scope="module")
def variables(images: jax.Array) -> Any:
    return random_variables(EfficientNet(n_classes=4), images[:1])


# Keras' summaries, less the 7 numbers of keras.applications' input normalisation.
COUNTS = {
    "b0": (5_330_564, 672),
    "b1": (7_856_232, 672),
    "b2": (9_177_562, 720),
    "b3": (12_320_528, 816),
    "b4": (19_466_816, 960),
    "b5": (30_562_520, 1056),
    "b6": (43_265_136, 1200),
    "b7": (66_658_680, 1344),
}


@pytest.mark.parametrize("variant", list(COUNTS))
def test_variants_have_the_published_numbers_of_parameters(variant: str) -> None:
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    shapes = jax.eval_shape(EfficientNet(variant).init, jax.random.key(0), image)
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == COUNTS[variant][0]
    assert feature_count(variant) == COUNTS[variant][1]


def test_shapes_of_the_results() -> None:
    model, image = EfficientNet("b3", n_classes=11), jnp.zeros((2, 64, 96, 5))
    shapes = jax.eval_shape(model.init, jax.random.key(0), image)
    logits: Any = jax.eval_shape(model.apply, shapes, image)
    cut: Any = jax.eval_shape(lambda v, x: model.apply(v, x, method="block6a"), shapes, image)
    assert (logits.shape, cut.shape) == ((2, 11), (2, 2, 3, 816))


def test_blocks_of_b0_are_those_of_the_table() -> None:
    found = [
        (s.name, s.kernel, s.stride, s.channels, s.inner, s.squeezed, s.filters)
        for s in block_specs("b0")
    ]
    assert found == [tuple(row) for row in B0]
    published = [variant for variant in VARIANTS if variant != "micro"]
    assert [len(block_specs(variant)) for variant in published] == [16, 23, 23, 26, 32, 39, 45, 55]
    # 1.1 x 24 = 26.4 would round down to 24, which is above 90 % of it; 1.4 x 24 = 33.6
    assert [round_filters(24, w) for w in (1.0, 1.1, 1.4)] == [24, 24, 32]
    assert round_filters(9, 1.4) == 16  # 12.6 -> 16; and 8 would be below 90 %
    with pytest.raises(ValueError, match="unknown EfficientNet 'b8'; known: b0, b1"):
        block_specs("b8")


def test_embed_is_the_pool_of_block6a_in_chunks_or_not(images: jax.Array, variables: Any) -> None:
    model = EfficientNet(n_classes=4)
    cut = jax.jit(lambda v, x: model.apply(v, x, method="block6a"))(variables, images)
    assert cut.shape == (5, 1, 2, 672)
    expected = np.asarray(cut).mean((1, 2))
    assert expected.std(0).min() > 1e-4
    # Five images in chunks of two: the last is filled up.
    features = jax.jit(lambda v, x: embed(model, v, x, chunk=2))(variables, images)
    np.testing.assert_allclose(np.asarray(features), expected, atol=1e-5)
    with pytest.raises(ValueError, match="a chunk of at least one image, found 0"):
        embed(model, variables, images, chunk=0)


def test_features_do_not_need_the_later_layers(images: jax.Array, variables: Any) -> None:
    later = ("block6b", "block6c", "block6d", "block7a", "head", "classifier")
    cut = {k: {n: v for n, v in tree.items() if n not in later} for k, tree in variables.items()}
    model = EfficientNet(n_classes=4)
    features: Any = jax.eval_shape(lambda v: model.apply(v, images, method="embed"), cut)
    assert features.shape == (5, 672)


def test_folded_norms_give_the_same_logits_and_cannot_train(
    images: jax.Array, variables: Any
) -> None:
    model = EfficientNet(n_classes=4, norm_epsilon=1e-5)
    folded, small = model.clone(norm="folded"), fold(variables, epsilon=1e-5)
    expected = jax.jit(model.apply)(variables, images)
    assert float(jnp.abs(expected).max()) > 0.1
    np.testing.assert_allclose(
        np.asarray(jax.jit(folded.apply)(small, images)), np.asarray(expected), atol=1e-5
    )
    shapes = jax.eval_shape(folded.init, jax.random.key(0), images)
    assert jax.tree.map(jnp.shape, small) == jax.tree.map(jnp.shape, dict(shapes))
    with pytest.raises(ValueError, match="folded batch norms cannot train"):
        jax.eval_shape(lambda v: folded.apply(v, images, train=True), small)
    with pytest.raises(ValueError, match="expected the collection batch_stats"):
        fold(small)


def test_norm_trains_by_the_batch_and_keeps_running_statistics() -> None:
    x = _normal(3, 4, 5, 2) * 3.0 + 1.0
    variables = random_variables(Norm(BATCH), x, seed=1)
    variables = {**variables, "params": {"scale": jnp.asarray([2.0, 1.0]), "bias": jnp.ones(2)}}
    valid = jnp.asarray([True, False, True])

    def run(valid: jax.Array | None, x: jax.Array) -> Any:
        norm = Norm(BATCH)
        return norm.apply(variables, x, train=True, valid=valid, mutable=["batch_stats"])

    old = variables["batch_stats"]
    for rows, mask in ((slice(None), None), (slice(None, None, 2), valid)):
        out, kept = run(mask, x)
        exact = np.asarray(x, np.float64)[rows]
        mean, var = exact.mean((0, 1, 2)), exact.var((0, 1, 2))
        expected = (exact - mean) / np.sqrt(var + 1e-3) * np.array([2.0, 1.0]) + 1.0
        np.testing.assert_allclose(np.asarray(out)[rows], expected, atol=1e-5)
        for name, value in (("mean", mean), ("var", var)):
            running = 0.99 * np.asarray(old[name]) + 0.01 * value
            np.testing.assert_allclose(np.asarray(kept["batch_stats"][name]), running, atol=1e-5)
    # A row that does not count may hold anything.
    out, kept = run(valid, x)
    out2, kept2 = run(valid, x.at[1].set(jnp.nan))
    np.testing.assert_array_equal(np.asarray(out)[::2], np.asarray(out2)[::2])
    np.testing.assert_array_equal(kept["batch_stats"]["var"], kept2["batch_stats"]["var"])


def test_gradients_through_the_batch_statistics_equal_plain_jax() -> None:
    x, scale, bias = _normal(3, 4, 5, 2), _normal(2, seed=1), _normal(2, seed=2)
    weights = _normal(3, 4, 5, 2, seed=3)
    stats = {"mean": jnp.zeros(2), "var": jnp.ones(2)}

    def ours(x: jax.Array, scale: jax.Array, bias: jax.Array) -> jax.Array:
        tree = {"params": {"scale": scale, "bias": bias}, "batch_stats": stats}
        out: Any = Norm(BATCH).apply(tree, x, train=True, mutable=["batch_stats"])
        return (out[0] * weights).sum()

    def plain(x: jax.Array, scale: jax.Array, bias: jax.Array) -> jax.Array:
        mean, var = x.mean((0, 1, 2), keepdims=True), x.var((0, 1, 2), keepdims=True)
        out = (x - mean) / jnp.sqrt(var + 1e-3) * scale[None, None, None] + bias[None, None, None]
        return (out * weights).sum()

    gradients = [jax.jit(jax.grad(f, (0, 1, 2)))(x, scale, bias) for f in (ours, plain)]
    for a, b in zip(*gradients, strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), atol=2e-5)


def test_statistics_over_devices_equal_those_of_one() -> None:
    x = _normal(8, 2, 3, 4)
    variables = random_variables(Norm(BATCH), x, seed=1)
    norm = Norm(BATCH._replace(axis_name="devices"))

    def shard(x: jax.Array) -> Any:
        return norm.apply(variables, x, train=True, mutable=["batch_stats"])

    out, kept = jax.pmap(shard, axis_name="devices")(x.reshape(8, 1, 2, 3, 4))
    expected, one = Norm(BATCH).apply(variables, x, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(np.asarray(out).reshape(x.shape), np.asarray(expected), atol=1e-5)
    for name in ("mean", "var"):
        np.testing.assert_allclose(
            np.asarray(kept["batch_stats"][name][3]),
            np.asarray(one["batch_stats"][name]),
            atol=1e-6,
        )


def test_drop_connect_skips_whole_images_and_keeps_the_mean() -> None:
    block = Block(BlockSpec("block9a", 3, 1, 2, 4, 4), 0.5, "SAME", BATCH)
    x = jnp.broadcast_to(_normal(1, 4, 4, 4), (256, 4, 4, 4))
    variables = random_variables(block, x[:1])

    def run(rate: float, key: int) -> np.ndarray:
        module = block.clone(drop_rate=rate)
        rngs = {"dropout": jax.random.key(key)}
        out, _ = module.apply(variables, x, train=True, rngs=rngs, mutable=["batch_stats"])
        return np.asarray(out - x)

    whole, half = run(0.0, 0), run(0.5, 1)
    kept = np.abs(half).max((1, 2, 3)) > 0
    assert 90 < kept.sum() < 166  # 128 are expected, 8 is a standard deviation
    np.testing.assert_allclose(half[kept], 2 * whole[kept], atol=1e-4)
    np.testing.assert_array_equal(run(0.5, 1), half)


def test_drop_connect_grows_from_block_to_block() -> None:
    bound = EfficientNet(n_classes=9).bind({"params": {}})
    rates = [block.drop_rate for block in bound.blocks]
    np.testing.assert_allclose(rates, np.arange(16) * 0.2 / 16)


def test_fresh_kernels_have_the_variance_of_keras() -> None:
    key = jax.random.key(0)
    conv = Conv(512, 3).init(key, jnp.zeros((1, 4, 4, 5)))["params"]["kernel"]
    point = Conv(512).init(key, jnp.zeros((1, 4, 4, 30)))["params"]["kernel"]
    depthwise = DepthwiseConv(5).init(key, jnp.zeros((1, 4, 4, 480)))["params"]["kernel"]
    # 2 / fan-out; Keras takes the number of taps for the fan-out of a depthwise kernel.
    for kernel, fan_out in ((conv, 9 * 512), (point, 512), (depthwise, 25)):
        np.testing.assert_allclose(np.asarray(kernel).std(), np.sqrt(2 / fan_out), rtol=0.05)


def test_half_precision_stays_close() -> None:
    block = Block(BlockSpec("block9a", 3, 2, 6, 8, 12), 0.0, "SAME", BATCH)
    x = _normal(2, 9, 8, 8)
    variables = random_variables(block, x)
    exact, half = (block.apply(variables, x.astype(d)) for d in (jnp.float32, jnp.bfloat16))
    assert isinstance(half, jax.Array)
    assert half.dtype == jnp.bfloat16
    exact, half = np.asarray(exact), np.asarray(half, np.float32)
    assert 1e-5 < np.linalg.norm(half - exact) / np.linalg.norm(exact) < 0.05
