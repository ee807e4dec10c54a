"""Convolutions and pooling against the plain formulations of lax and flax."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from cellml.ops.conv import (
    conv_general_dilated,
    conv_merged,
    conv_same,
    conv_upsampled,
    max_pool_2x2,
    upsample_nearest,
)

SHAPES = [(2, 5, 7, 3), (1, 1, 1, 1)]


def normal(seed, shape, dtype=jnp.float32):
    return jax.random.normal(jax.random.key(seed), shape, dtype)


def lax_conv(x, kernel):
    layout = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=layout)


def plain_merged(skip, x, kernel):
    return lax_conv(jnp.concatenate([skip, upsample_nearest(x)], axis=-1), kernel)


def value_and_grads(function, *args):
    """The result, and the gradients of a projection of it on fixed random numbers; jitted."""

    def evaluate(*args):
        out, pullback = jax.vjp(function, *args)
        return out, *pullback(normal(99, out.shape, out.dtype))

    return jax.jit(evaluate)(*args)


def assert_all_close(found, expected, tolerance=1e-5):
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(
            np.asarray(a, np.float32), np.asarray(b, np.float32), rtol=tolerance, atol=tolerance
        )


def test_conv_same_by_hand():
    x = jnp.arange(6.0).reshape(1, 2, 3, 1)
    kernel = jnp.zeros((3, 3, 1, 1)).at[1, 2].set(1.0).at[0, 1].set(10.0)
    # the pixel at the right, and ten times the pixel above
    expected = np.array([[1.0, 2, 0], [4, 5 + 10, 20]])
    np.testing.assert_array_equal(conv_same(x, kernel)[0, ..., 0], expected)


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 3), (5, 2)])
@pytest.mark.parametrize("shape", SHAPES)
def test_conv_same_equals_lax(size, shape):
    x, kernel = normal(0, shape), normal(1, (*size, shape[-1], 4))
    found = value_and_grads(conv_same, x, kernel)
    assert_all_close(found, value_and_grads(lax_conv, x, kernel))


def test_conv_same_under_vmap_equals_a_loop():
    x, kernel = normal(0, (3, 2, 5, 4, 2)), normal(1, (3, 3, 2, 3))

    def gradient(x):
        return jax.grad(lambda k: (conv_same(x, k) ** 2).sum())(kernel)

    assert_all_close([jax.vmap(gradient)(x)], [jnp.stack([gradient(one) for one in x])], 1e-4)


def test_conv_same_keeps_bfloat16():
    x, kernel = normal(0, (1, 5, 6, 2), jnp.bfloat16), normal(1, (3, 3, 2, 3), jnp.bfloat16)
    found, expected = value_and_grads(conv_same, x, kernel), value_and_grads(lax_conv, x, kernel)
    assert_all_close(found, expected, tolerance=0.15)


@pytest.mark.parametrize(
    "options", [{}, {"strides": 2}, {"kernel_dilation": 2}, {"padding": "VALID"}]
)
def test_conv_general_dilated_stands_in_for_lax_in_flax(options):
    x = normal(0, (2, 7, 6, 4))
    plain = nn.Conv(4, (3, 3), **options)
    ours = nn.Conv(4, (3, 3), conv_general_dilated=conv_general_dilated, **options)
    params = plain.init(jax.random.key(1), x)
    found = value_and_grads(lambda p: ours.apply(p, x), params)
    expected = value_and_grads(lambda p: plain.apply(p, x), params)
    assert_all_close(jax.tree.leaves(found), jax.tree.leaves(expected))


def test_conv_general_dilated_keeps_groups():
    x = normal(0, (1, 5, 6, 4))
    plain = nn.Conv(4, (3, 3), feature_group_count=2)
    ours = plain.clone(conv_general_dilated=conv_general_dilated)
    params = plain.init(jax.random.key(1), x)
    assert_all_close([ours.apply(params, x)], [plain.apply(params, x)])


def test_upsample_nearest_by_hand():
    x = jnp.array([[1.0, 2.0]]).reshape(1, 1, 2, 1)
    expected = [[1, 1, 2, 2], [1, 1, 2, 2]]
    np.testing.assert_array_equal(upsample_nearest(x)[0, ..., 0], expected)


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("shape", SHAPES)
def test_conv_upsampled_equals_upsampling_first(size, shape):
    x, kernel = normal(0, shape), normal(1, (size, size, shape[-1], 4))
    found = value_and_grads(conv_upsampled, x, kernel)
    expected = value_and_grads(lambda x, k: lax_conv(upsample_nearest(x), k), x, kernel)
    assert_all_close(found, expected)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_conv_merged_equals_concatenating_first(size):
    skip, x = normal(0, (2, 6, 10, 3)), normal(1, (2, 3, 5, 4))
    kernel = normal(2, (size, size, 7, 5))
    expected = value_and_grads(plain_merged, skip, x, kernel)
    assert_all_close(value_and_grads(conv_merged, skip, x, kernel), expected)


def test_without_jit_the_result_is_the_same():
    skip, x, kernel = normal(0, (2, 4, 6, 2)), normal(1, (2, 2, 3, 2)), normal(2, (3, 3, 4, 2))
    found, pullback = jax.vjp(conv_merged, skip, x, kernel)
    gradients = pullback(normal(99, found.shape))
    assert_all_close([found, *gradients], value_and_grads(conv_merged, skip, x, kernel))


def test_conv_merged_under_vmap_equals_a_loop():
    skip, x, kernel = (
        normal(0, (3, 1, 4, 6, 2)),
        normal(1, (3, 1, 2, 3, 2)),
        normal(2, (3, 3, 4, 2)),
    )
    found = jax.vmap(conv_merged, (0, 0, None))(skip, x, kernel)
    expected = jnp.stack([conv_merged(s, y, kernel) for s, y in zip(skip, x, strict=True)])
    assert_all_close([found], [expected])


def test_conv_merged_keeps_bfloat16():
    args = [normal(i, s, jnp.bfloat16) for i, s in enumerate([(1, 4, 4, 2), (1, 2, 2, 2)])]
    kernel = normal(2, (3, 3, 4, 2), jnp.bfloat16)
    found = conv_merged(args[0], args[1], kernel)
    assert_all_close([found], [plain_merged(args[0], args[1], kernel)], tolerance=0.15)


def test_gradients_of_conv_merged_against_finite_differences():
    args = normal(0, (1, 4, 2, 2)), normal(1, (1, 2, 1, 1)), normal(2, (3, 3, 3, 2))
    # bilinear, so that central differences are exact with any step; jitted, since check_grads
    # calls with NumPy arrays
    check_grads(jax.jit(conv_merged), args, order=1, modes=["rev"], atol=1e-3, rtol=1e-3, eps=0.1)


def test_wrong_shapes_are_named():
    x = jnp.zeros((1, 2, 2, 3))
    with pytest.raises(ValueError, match="1x1, 2x2 or 3x3, found \\(5, 5\\)"):
        conv_upsampled(x, jnp.zeros((5, 5, 3, 1)))
    with pytest.raises(ValueError, match="1x1, 2x2 or 3x3, found \\(3, 2\\)"):
        conv_upsampled(x, jnp.zeros((3, 2, 3, 1)))
    with pytest.raises(ValueError, match="expected skip of \\(1, 4, 4\\), found \\(1, 4, 2\\)"):
        conv_merged(jnp.zeros((1, 4, 2, 1)), x, jnp.zeros((3, 3, 4, 1)))
    with pytest.raises(ValueError, match="1 \\+ 3 channels, found 5"):
        conv_merged(jnp.zeros((1, 4, 4, 1)), x, jnp.zeros((3, 3, 5, 1)))


def flax_pool(x):
    return nn.max_pool(x, (2, 2), (2, 2))


@pytest.mark.parametrize("shape", [(2, 6, 4, 3), (1, 5, 4, 2), (1, 4, 7, 2), (1, 2, 2, 1)])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_max_pool_equals_flax(shape, dtype):
    x = normal(0, shape, dtype)
    found, expected = value_and_grads(max_pool_2x2, x), value_and_grads(flax_pool, x)
    assert_all_close(found, expected, tolerance=0)


def test_max_pool_gives_the_gradient_of_a_tie_to_the_first_pixel():
    """Small integers: nearly every block has a tie."""
    x = jnp.round(normal(3, (2, 16, 12, 4)))
    assert_all_close(value_and_grads(max_pool_2x2, x), value_and_grads(flax_pool, x), tolerance=0)
    gradient = jax.grad(lambda x: max_pool_2x2(x).sum())(jnp.zeros((1, 2, 2, 1)))
    np.testing.assert_array_equal(gradient[0, ..., 0], [[1, 0], [0, 0]])


def test_max_pool_under_jit_and_vmap():
    x = normal(0, (3, 1, 4, 6, 2))

    def gradient(x):
        return jax.grad(lambda x: (max_pool_2x2(x) ** 2).sum())(x)

    expected = jnp.stack([gradient(one) for one in x])
    np.testing.assert_array_equal(jax.jit(jax.vmap(gradient))(x), expected)


def test_max_pool_passes_nan_on():
    x = jnp.array([[1.0, jnp.nan], [3.0, 2.0]]).reshape(1, 2, 2, 1)
    assert jnp.isnan(max_pool_2x2(x)).all()
