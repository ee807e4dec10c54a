"""CompactNet: patches against lax's convolution, folding, masks, and that it learns."""

import functools
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.traverse_util import flatten_dict
from jax import lax

from cellml.models import compact, efficientnet
from cellml.models.compact import CompactNet, Patches


def images(count: int, side: int = 32, channels: int = 3, seed: int = 0) -> jax.Array:
    shape = (count, side, side, channels)
    return jnp.asarray(np.random.default_rng(seed).uniform(0, 1, shape), jnp.float32)


def applied(model: nn.Module, variables: Mapping[str, Any], x: jax.Array, **how: Any) -> np.ndarray:
    return np.asarray(model.apply(variables, x, **how))


@functools.cache
def trained_variables() -> tuple[CompactNet, dict]:
    """Variables whose statistics and norms are not those of a fresh network."""
    model = CompactNet(n_classes=5)
    variables = jax.jit(model.init)(jax.random.key(0), images(1))
    rng = np.random.default_rng(1)
    noisy = jax.tree.map(
        lambda a: a * jnp.asarray(rng.uniform(0.8, 1.2, a.shape), jnp.float32), dict(variables)
    )
    _, state = model.apply(noisy, images(4), train=True, mutable=["batch_stats"])
    return model, {"params": noisy["params"], **state}


@pytest.mark.parametrize("side", [32, 29])
def test_patches_are_a_strided_convolution(side: int) -> None:
    x = images(2, side)
    layer = Patches(8, 4)
    variables = layer.init(jax.random.key(0), x)
    kernel = jnp.asarray(variables["params"]["kernel"])
    padded = jnp.pad(x, ((0, 0), (0, -side % 4), (0, -side % 4), (0, 0)))
    expected = lax.conv_general_dilated(
        padded, kernel, (4, 4), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    np.testing.assert_allclose(applied(layer, variables, x), expected, atol=1e-5)


def test_it_gives_features_and_logits_for_any_size_and_channels() -> None:
    for side, channels in ((32, 5), (45, 1)):
        x = images(2, side, channels)
        model = CompactNet(n_classes=7)
        variables = jax.jit(model.init)(jax.random.key(0), x)
        assert applied(model, variables, x).shape == (2, 7)
        features = applied(model, variables, x, method="embed")
        assert features.shape == (2, compact.FEATURES)
        assert np.isfinite(features).all()


def test_folded_norms_give_the_same_features() -> None:
    model, variables = trained_variables()
    folded = efficientnet.fold(variables)
    assert "batch_stats" not in folded
    names = {"/".join(place) for place in flatten_dict(folded["params"])}
    assert "block1a/conv1/kernel" in names
    assert "stem/norm/bias" in names
    other = CompactNet(n_classes=5, norm="folded")
    x = images(3, seed=2)
    expected = applied(model, variables, x, method="embed")
    np.testing.assert_allclose(applied(other, folded, x, method="embed"), expected, atol=2e-5)
    chunked = efficientnet.embed(other, folded, images(9, seed=3), chunk=4)
    whole = applied(model, variables, images(9, seed=3), method="embed")
    np.testing.assert_allclose(chunked, whole, atol=2e-5)


def test_padded_rows_change_neither_statistics_nor_logits() -> None:
    model, variables = trained_variables()
    x = images(3, seed=4)
    padded = jnp.concatenate([x, 9.0 * images(2, seed=5)])
    valid = jnp.asarray([True, True, True, False, False])
    logits, state = model.apply(variables, x, train=True, mutable=["batch_stats"])
    logits2, state2 = model.apply(
        variables, padded, train=True, valid=valid, mutable=["batch_stats"]
    )
    np.testing.assert_allclose(logits2[:3], logits, atol=1e-4)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), state, state2)


def test_it_learns_four_images_by_heart() -> None:
    model = CompactNet(n_classes=4)
    x, target = images(4, 16), jnp.arange(4)
    variables = jax.jit(model.init)(jax.random.key(0), x)
    params, stats = variables["params"], variables["batch_stats"]

    def loss_of(params: dict, stats: dict) -> tuple[jax.Array, dict]:
        logits, new = model.apply(
            {"params": params, "batch_stats": stats}, x, train=True, mutable=["batch_stats"]
        )
        loss = optax.softmax_cross_entropy_with_integer_labels(jnp.asarray(logits), target)
        return loss.mean(), dict(new["batch_stats"])

    @jax.jit
    def step(params: dict, stats: dict) -> tuple[dict, dict, jax.Array]:
        (loss, stats), grads = jax.value_and_grad(loss_of, has_aux=True)(params, stats)
        return jax.tree.map(lambda p, g: p - 0.1 * g, params, grads), stats, loss

    losses = []
    for _ in range(30):
        params, stats, loss = step(params, stats)
        losses.append(float(loss))
    assert losses[0] > 1.0
    assert losses[-1] < 0.1
