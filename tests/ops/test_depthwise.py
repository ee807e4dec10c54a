"""Depthwise convolution: naive loops, lax and its gradients, padding by hand, other platforms."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from cellml.ops.depthwise import depthwise_conv, resolve_padding, same_padding


def _normal(*shape: int, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape, np.float32))


def _loops(x: np.ndarray, kernel: np.ndarray, stride: int) -> np.ndarray:
    """TensorFlow's SAME as its documentation has it, pixel by pixel."""
    b, h, w, c = x.shape
    rows, columns = kernel.shape[:2]
    front = []
    for n, k in ((h, rows), (w, columns)):
        total = max(k - (n % stride or stride), 0)
        front.append(total // 2)
    out = np.zeros((b, -(-h // stride), -(-w // stride), c))
    for i in range(out.shape[1]):
        for j in range(out.shape[2]):
            for p in range(rows):
                for q in range(columns):
                    y, z = i * stride + p - front[0], j * stride + q - front[1]
                    if 0 <= y < h and 0 <= z < w:
                        out[:, i, j] += x[:, y, z].astype(np.float64) * kernel[p, q, 0]
    return out


def _lax(x: jax.Array, kernel: jax.Array, *, stride: int, padding: str = "SAME") -> jax.Array:
    sides = [((k - 1) // 2,) * 2 for k in kernel.shape[:2]]
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        "SAME" if padding == "SAME" else sides,  # pyright: ignore[reportArgumentType]
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1],
    )


@pytest.mark.parametrize(
    ("shape", "size", "stride"),
    [
        ((7, 10), (3, 3), 1),
        ((7, 10), (5, 5), 2),
        ((6, 9), (3, 3), 2),
        ((8, 5), (2, 4), 3),
        ((1, 2), (5, 3), 2),
        ((5, 4), (1, 1), 2),
    ],
)
def test_equals_loops(shape: tuple[int, int], size: tuple[int, int], stride: int) -> None:
    x, kernel = _normal(2, *shape, 3), _normal(*size, 1, 3, seed=1)
    found = depthwise_conv(x, kernel, stride=stride)
    expected = _loops(np.asarray(x), np.asarray(kernel), stride)
    assert found.shape == expected.shape
    np.testing.assert_allclose(np.asarray(found), expected, atol=1e-5)


@pytest.mark.parametrize("padding", ["SAME", "TORCH"])
@pytest.mark.parametrize(
    ("shape", "size", "stride"),
    [
        ((7, 10), (3, 3), 1),
        ((8, 11), (5, 5), 2),
        ((6, 9), (3, 3), 2),
        ((8, 9), (3, 5), 3),
        ((4, 5), (1, 3), 2),
    ],
)
def test_values_and_gradients_equal_lax(
    shape: tuple[int, int], size: tuple[int, int], stride: int, padding: str
) -> None:
    x, kernel = _normal(2, *shape, 3), _normal(*size, 1, 3, seed=1)
    ours = partial(depthwise_conv, stride=stride, padding=padding)
    theirs = partial(_lax, stride=stride, padding=padding)

    @jax.jit
    def both(x: jax.Array, kernel: jax.Array) -> list[tuple[jax.Array, ...]]:
        results = []
        for f in (ours, theirs):
            out, pull = jax.vjp(f, x, kernel)
            weights = jnp.sin(jnp.arange(out.size, dtype=jnp.float32)).reshape(out.shape)
            results.append((out, *pull(weights)))
        return results

    found, expected = both(x, kernel)
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), atol=2e-5)


def test_padding_by_hand() -> None:
    assert same_padding(8, 3, 2) == (0, 1)
    assert same_padding(7, 3, 2) == (1, 1)
    assert same_padding(8, 5, 2) == (1, 2)
    assert same_padding(8, 1, 2) == (0, 0)
    assert resolve_padding((8, 7), (3, 5), stride=2, padding="SAME") == ((0, 1), (2, 2))
    assert resolve_padding((8, 7), (3, 5), stride=2, padding="TORCH") == ((1, 1), (2, 2))


def test_same_and_torch_see_other_pixels() -> None:
    x = jnp.arange(4.0).reshape(1, 1, 4, 1)
    kernel = jnp.asarray([1.0, 10.0, 100.0]).reshape(1, 3, 1, 1)
    same = depthwise_conv(x, kernel, stride=2)
    torch = depthwise_conv(x, kernel, stride=2, padding="TORCH")
    np.testing.assert_array_equal(np.asarray(same).ravel(), [210.0, 32.0])
    np.testing.assert_array_equal(np.asarray(torch).ravel(), [100.0, 321.0])


def test_jit_equals_eager_and_vmap_equals_a_loop() -> None:
    x, kernels = _normal(2, 6, 5, 3), _normal(4, 3, 3, 1, 3, seed=1)
    f = partial(depthwise_conv, stride=2)
    together = jax.vmap(f, in_axes=(None, 0))(x, kernels)
    for kernel, one in zip(kernels, together, strict=True):
        np.testing.assert_allclose(np.asarray(f(x, kernel)), np.asarray(one), atol=1e-6)
        np.testing.assert_allclose(np.asarray(jax.jit(f)(x, kernel)), np.asarray(one), atol=1e-6)


def test_half_precision_keeps_its_dtype_and_sums_the_kernel_gradient_in_float32() -> None:
    x, kernel = (a.astype(jnp.bfloat16) for a in (jnp.ones((1, 32, 32, 1)), jnp.ones((1, 1, 1, 1))))
    out, pull = jax.vjp(partial(depthwise_conv, stride=1), x, kernel)
    grads = pull(jnp.ones_like(out))
    assert out.dtype == grads[0].dtype == grads[1].dtype == jnp.bfloat16
    # bfloat16 stops counting at 256
    assert float(grads[1][0, 0, 0, 0]) == 1024.0


def test_gpus_and_tpus_get_a_grouped_convolution_and_cpus_none() -> None:
    x, kernel = _normal(1, 6, 5, 3), _normal(3, 3, 1, 3, seed=1)

    def loss(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return depthwise_conv(x, kernel, stride=2).sum()

    texts = {
        platform: jax.jit(jax.value_and_grad(loss, (0, 1)))
        .trace(x, kernel)
        .lower(lowering_platforms=(platform,))
        .as_text()
        for platform in ("cpu", "cuda", "tpu")
    }
    assert "stablehlo.convolution" not in texts["cpu"]
    assert "stablehlo.convolution" in texts["cuda"]
    assert "stablehlo.convolution" in texts["tpu"]


def test_mistakes_are_named() -> None:
    x, kernel = _normal(1, 2, 5, 3), _normal(3, 3, 1, 3)
    with pytest.raises(ValueError, match="stride of at least 1, found 0"):
        depthwise_conv(x, kernel, stride=0)
    with pytest.raises(ValueError, match="unknown padding 'VALID'; known: SAME, TORCH"):
        depthwise_conv(x, kernel, padding="VALID")
    even = _normal(4, 4, 1, 3)
    with pytest.raises(ValueError, match="at least 4 x 4 pixels after padding, found 3 x 7"):
        depthwise_conv(x[:, :1], even, padding="TORCH")
