"""Sums, scaling and 1x1 convolutions over channels: NumPy in float64, and jax's own gradients."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cellml.ops.channels import mix, moments, scale_shift, sum_pixels

SHAPES = [(2, 6, 5, 3), (1, 1, 1, 7), (3, 2, 9, 1)]


def _normal(*shape: int, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape, np.float32))


def _values_and_gradients(f: Callable[..., Any], *arguments: jax.Array) -> list[Any]:
    def run(*arguments: jax.Array) -> Any:
        out, pull = jax.vjp(f, *arguments)
        weights = jax.tree.map(lambda o: jnp.cos(jnp.arange(o.size, dtype=o.dtype)), out)
        return out, pull(jax.tree.map(lambda o, w: w.reshape(o.shape), out, weights))

    return jax.tree.leaves(jax.jit(run)(*arguments))


@pytest.mark.parametrize("shape", SHAPES)
def test_sums_equal_numpy(shape: tuple[int, ...]) -> None:
    x, y = _normal(*shape), _normal(*shape, seed=1)
    found = sum_pixels([x, x * y, y])
    exact = [np.asarray(a, np.float64) for a in (x, y)]
    expected = [exact[0], exact[0] * exact[1], exact[1]]
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(np.asarray(a), b.sum((0, 1, 2)), atol=1e-5)
    for a, b in zip(jax.jit(sum_pixels)([x, y]), (found[0], found[2]), strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_values_and_gradients_equal_those_of_plain_jax(shape: tuple[int, ...]) -> None:
    x, c = _normal(*shape), shape[-1]
    scale, shift, kernel = _normal(c, seed=1), _normal(c, seed=2), _normal(c, 4, seed=3)

    def plain_moments(x: jax.Array) -> Any:
        return x.sum((0, 1, 2)), (x**2).sum((0, 1, 2))

    def plain_scale_shift(x: jax.Array, scale: jax.Array, shift: jax.Array) -> jax.Array:
        return x * scale[None, None, None] + shift[None, None, None]

    pairs = [
        (moments, plain_moments, (x,)),
        (scale_shift, plain_scale_shift, (x, scale, shift)),
        (mix, lambda x, kernel: jnp.einsum("bhwc,cf->bhwf", x, kernel), (x, kernel)),
    ]
    for ours, theirs, arguments in pairs:
        found = _values_and_gradients(ours, *arguments)
        expected = _values_and_gradients(theirs, *arguments)
        assert len(found) == len(expected) > 1
        for a, b in zip(found, expected, strict=True):
            assert a.shape == b.shape
            np.testing.assert_allclose(np.asarray(a), np.asarray(b), atol=2e-5)


def test_half_precision_is_summed_in_float32() -> None:
    x = jnp.ones((1, 32, 32, 2), jnp.bfloat16)
    total, squares = moments(x)
    assert total.dtype == squares.dtype == jnp.float32
    np.testing.assert_array_equal(np.asarray(total), [1024.0, 1024.0])  # bfloat16 stops at 256
    ones = jnp.ones(2)
    out, pull = jax.vjp(scale_shift, x, ones, ones)
    of_x, of_scale, of_shift = pull(jnp.ones_like(out))
    assert out.dtype == of_x.dtype == jnp.bfloat16
    np.testing.assert_array_equal(np.asarray(of_scale), [1024.0, 1024.0])
    np.testing.assert_array_equal(np.asarray(of_shift), [1024.0, 1024.0])
