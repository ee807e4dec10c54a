"""U-Net: parameter counts, an independent NumPy forward pass, shapes, strides, dropout."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cellml.models.unet import (
    PRESETS,
    UNet,
    count_parameters,
    depth_to_space,
    make_unet,
    space_to_depth,
    stride,
)


@pytest.mark.parametrize(("channels", "expected"), [(1, 31_031_685), (3, 31_032_837)])
def test_zhixuhao_has_the_published_number_of_parameters(channels: int, expected: int) -> None:
    model = make_unet("zhixuhao", out_channels=1)
    image = jnp.zeros((1, 32, 32, channels))
    variables = jax.eval_shape(model.init, jax.random.key(0), image)
    assert count_parameters(variables) == expected


def _conv(x: np.ndarray, leaf: dict, pad: tuple[tuple[int, int], tuple[int, int]]) -> np.ndarray:
    """TensorFlow's SAME convolution by loops over the kernel."""
    kernel = np.asarray(leaf["kernel"], np.float64)
    padded = np.pad(x, (*pad, (0, 0)))
    height, width = x.shape[:2]
    out = np.zeros((height, width, kernel.shape[-1]))
    for i in range(kernel.shape[0]):
        for j in range(kernel.shape[1]):
            out += padded[i : i + height, j : j + width] @ kernel[i, j]
    return out + np.asarray(leaf["bias"])


def _reference(params: dict, x: np.ndarray, depth: int) -> np.ndarray:
    """The zhixuhao network restated from its description (facts: filters, pads, order)."""
    same3, even2 = ((1, 1), (1, 1)), ((0, 1), (0, 1))

    def relu(y: np.ndarray) -> np.ndarray:
        return np.maximum(y, 0)

    def block(y: np.ndarray, name: str) -> np.ndarray:
        for i in range(2):
            y = relu(_conv(y, params[name][f"Conv_{i}"], same3))
        return y

    skips = []
    for level in range(depth):
        if level:
            h, w, c = x.shape
            x = x.reshape(h // 2, 2, w // 2, 2, c).max(axis=(1, 3))
        x = block(x, f"down{level}")
        skips.append(x)
    for level in reversed(range(depth - 1)):
        x = x.repeat(2, axis=0).repeat(2, axis=1)
        x = relu(_conv(x, params[f"upconv{level}"], even2))
        x = block(np.concatenate([skips[level], x], axis=-1), f"up{level}")
    x = relu(_conv(x, params["tail"], same3))
    return _conv(x, params["head"], ((0, 0), (0, 0)))


def test_forward_equals_an_independent_numpy_network() -> None:
    model = make_unet("zhixuhao", out_channels=1, filters=(4, 6, 8))
    image = jax.random.normal(jax.random.key(1), (1, 12, 20, 2))
    params = model.init(jax.random.key(0), image)
    # Biases start at 0, which would hide a forgotten one.
    params = jax.tree.map(lambda p: p + 0.05 if p.ndim == 1 else p, params)
    found = model.apply(params, image)
    expected = _reference(params["params"], np.asarray(image[0], np.float64), 3)
    np.testing.assert_allclose(np.asarray(found)[0], expected, atol=1e-5)


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_presets_keep_height_and_width_and_take_any_channels(preset: str) -> None:
    model = make_unet(preset, out_channels=3, filters=(16, 16))
    multiple = stride(model)
    image = jnp.ones((2, 3 * multiple, 2 * multiple, 5))
    variables = jax.eval_shape(model.init, jax.random.key(0), image)
    out = jax.eval_shape(model.apply, variables, image)
    assert out.shape == (2, 3 * multiple, 2 * multiple, 3)


def test_wrong_size_is_refused_with_the_size() -> None:
    model = make_unet("nuclei", out_channels=1)
    with pytest.raises(ValueError, match="multiples of 32, found 48 x 40"):
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 48, 40, 3)))


def test_space_to_depth_round_trip_and_order() -> None:
    x = jnp.arange(2 * 4 * 6 * 3, dtype=jnp.float32).reshape(2, 4, 6, 3)
    deep = space_to_depth(x, 2)
    assert deep.shape == (2, 2, 3, 12)
    np.testing.assert_array_equal(np.asarray(deep)[0, 0, 0, 3:6], np.asarray(x)[0, 0, 1])
    np.testing.assert_array_equal(np.asarray(depth_to_space(deep, 2)), np.asarray(x))


def test_dropout_acts_in_training_only() -> None:
    model = UNet(filters=(4, 4), out_channels=1, dropout_levels=(1,))
    image = jax.random.normal(jax.random.key(0), (1, 8, 8, 1))
    params = model.init(jax.random.key(0), image)
    quiet = model.apply(params, image)
    noisy = [
        model.apply(params, image, train=True, rngs={"dropout": jax.random.key(i)}) for i in (1, 2)
    ]
    assert not np.array_equal(np.asarray(noisy[0]), np.asarray(noisy[1]))
    np.testing.assert_array_equal(np.asarray(quiet), np.asarray(model.apply(params, image)))


def test_unknown_preset_and_field_name_the_known_ones() -> None:
    with pytest.raises(ValueError, match="known: zhixuhao"):
        make_unet("vnet", out_channels=1)
    with pytest.raises(ValueError, match="filter"):
        make_unet("plain", out_channels=1, filter=(1, 2))
