"""ResNet: published parameter counts, blocks against NumPy, pooling, norms, shapes."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cellml.models.resnet import BACKBONES, Block, ConvNorm, ResNet, max_pool_3x3
from tests.models import numpy_layers as layers


def random_variables(module: nn.Module, x: Any, seed: int = 5) -> Any:
    """Variables in which no bias, scale or statistic is idle; nothing is compiled for them."""
    rng = np.random.default_rng(seed)

    def draw(path: Any, leaf: Any) -> jax.Array:
        noise = rng.standard_normal(leaf.shape)
        if path[-1].key == "kernel":
            noise *= np.sqrt(2 / np.prod(leaf.shape[:-1]))
        elif path[-1].key in ("scale", "var"):
            noise = rng.uniform(0.5, 1.5, leaf.shape)
        else:
            noise *= 0.1
        return jnp.asarray(noise.astype(np.float32))

    shapes = jax.eval_shape(module.init, jax.random.key(0), x)
    return jax.tree_util.tree_map_with_path(draw, shapes)


def _normal(*shape: int, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape, np.float32))


def _numpy_conv_norm(
    variables: Any, name: str, x: np.ndarray, *, stride: int, relu: bool
) -> np.ndarray:
    """`ConvNorm` in NumPy."""
    leaves = jax.tree.map(np.asarray, variables)
    params = leaves["params"][name]
    kernel, norm = params["conv"]["kernel"], params["norm"]
    pad = (kernel.shape[0] - 1) // 2
    x = layers.conv(x, kernel, params["conv"].get("bias"), stride=stride, pad=(pad, pad))
    if "batch_stats" in leaves:
        stats = leaves["batch_stats"][name]["norm"]
        x = layers.batch_norm(x, norm["scale"], norm["bias"], stats["mean"], stats["var"])
    else:
        x = layers.group_norm(x, norm["scale"], norm["bias"], min(16, x.shape[-1]))
    return layers.relu(x) if relu else x


def _numpy_block(variables: Any, x: np.ndarray, *, stride: int, bottleneck: bool) -> np.ndarray:
    """`Block` in NumPy, with the stride in the first convolution."""

    def layer(name: str, x: np.ndarray, stride: int, relu: bool) -> np.ndarray:
        return _numpy_conv_norm(variables, name, x, stride=stride, relu=relu)

    y = layer("a", x, stride, True)
    y = layer("b", y, 1, bottleneck)
    if bottleneck:
        y = layer("c", y, 1, False)
    if "shortcut" in variables["params"]:
        x = layer("shortcut", x, stride, False)
    return layers.relu(x + y)


@pytest.mark.parametrize("bottleneck", [True, False])
@pytest.mark.parametrize(("norm", "bias"), [("frozen", True), ("group", False)])
@pytest.mark.parametrize(("stride", "channels"), [(2, 6), (1, 32)])
def test_block_equals_numpy(
    bottleneck: bool, norm: str, bias: bool, stride: int, channels: int
) -> None:
    filters = 8 if bottleneck else 32
    block = Block(filters, stride, bottleneck, norm, bias)
    x = _normal(2, 6, 10, channels)
    variables = random_variables(block, x)
    assert ("shortcut" in variables["params"]) == (stride == 2)
    assert ("bias" in variables["params"]["a"]["conv"]) == bias
    found = np.asarray(jax.jit(block.apply)(variables, x))
    for image, out in zip(np.asarray(x, np.float64), found, strict=True):
        expected = _numpy_block(variables, image, stride=stride, bottleneck=bottleneck)
        np.testing.assert_allclose(out, expected, atol=1e-4)


def test_stem_pads_three_zeros_and_steps_by_two() -> None:
    stem = ConvNorm(5, 7, 2)
    x = _normal(1, 12, 18, 3)
    variables = random_variables(stem, x)
    nested = {kind: {"stem": tree} for kind, tree in variables.items()}
    image = np.asarray(x[0], np.float64)
    expected = _numpy_conv_norm(nested, "stem", image, stride=2, relu=True)
    assert expected.shape == (6, 9, 5)
    np.testing.assert_allclose(np.asarray(stem.apply(variables, x))[0], expected, atol=1e-4)


def test_max_pool_equals_loops_and_linen_with_its_gradient() -> None:
    x = _normal(2, 6, 10, 3) - 3.0
    found = np.asarray(max_pool_3x3(x))
    for image, out in zip(np.asarray(x), found, strict=True):
        np.testing.assert_array_equal(out, layers.max_pool_3x3(image).astype(np.float32))
    weights = _normal(*found.shape, seed=1)

    def of_linen(x: jax.Array) -> jax.Array:
        return (nn.max_pool(x, (3, 3), (2, 2), "SAME") * weights).sum()

    gradients = [
        jax.jit(jax.grad(f))(x) for f in (lambda x: (max_pool_3x3(x) * weights).sum(), of_linen)
    ]
    np.testing.assert_allclose(np.asarray(gradients[0]), np.asarray(gradients[1]), atol=1e-6)


def test_max_pool_shares_the_gradient_of_equal_maxima_and_loses_none() -> None:
    gradient = jax.jit(jax.grad(lambda x: max_pool_3x3(x).sum()))(jnp.ones((1, 4, 6, 1)))
    assert float(gradient.sum()) == pytest.approx(6.0)
    assert float(gradient.min()) > 0.0


# torchvision's counts without the last layer: the same networks, biasless, with two numbers a
# channel of the norm.
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet18", 11_176_512),
        ("resnet34", 21_284_672),
        ("resnet50", 23_508_032),
        ("resnet101", 42_500_160),
    ],
)
def test_backbones_have_the_published_numbers_of_parameters(name: str, expected: int) -> None:
    model = ResNet(BACKBONES[name], norm="group", bias=False)
    image = jnp.zeros((1, 64, 96, 3))
    variables = jax.eval_shape(model.init, jax.random.key(0), image)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == expected
    outputs = jax.eval_shape(model.apply, variables, image)
    expansion = 4 if BACKBONES[name].bottleneck else 1
    assert [out.shape for out in outputs] == [
        (1, 64 // s, 96 // s, 16 * s * expansion) for s in (4, 8, 16, 32)
    ]


def test_frozen_norm_trains_its_scale_but_not_its_statistics() -> None:
    layer = ConvNorm(4, 3)
    x = _normal(2, 4, 4, 3)
    variables = random_variables(layer, x)
    _, kept = layer.apply(variables, x, mutable=["batch_stats"])
    for name, before in variables["batch_stats"]["norm"].items():
        np.testing.assert_array_equal(np.asarray(kept["batch_stats"]["norm"][name]), before)

    def loss(params: Any) -> Any:
        out: Any = layer.apply({**variables, "params": params}, x)
        return (out**2).sum()

    gradient = jax.grad(loss)(variables["params"])
    for name in ("scale", "bias"):
        assert float(jnp.abs(gradient["norm"][name]).min()) > 0.0


@pytest.mark.parametrize("norm", ["frozen", "group"])
def test_an_image_gives_the_same_alone_as_in_a_batch(norm: str) -> None:
    model = ResNet(BACKBONES["resnet18"], width=4, norm=norm)
    images = _normal(2, 32, 64, 3)
    variables = random_variables(model, images)
    apply = jax.jit(model.apply)
    together = apply(variables, images)
    apart = apply(variables, images.at[1].set(7.0))
    for a, b in zip(together, apart, strict=True):
        np.testing.assert_allclose(np.asarray(a)[0], np.asarray(b)[0], rtol=1e-5, atol=1e-5)


def test_wrong_sizes_and_norms_are_refused() -> None:
    model = ResNet(BACKBONES["resnet18"], width=4)
    with pytest.raises(ValueError, match="multiples of 32, found 48 x 64"):
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 48, 64, 3)))
    with pytest.raises(ValueError, match="expected even height and width, found 4 x 5"):
        max_pool_3x3(jnp.zeros((1, 4, 5, 1)))
    with pytest.raises(ValueError, match="unknown norm 'batch'; known: frozen, group"):
        ConvNorm(4, norm="batch").init(jax.random.key(0), jnp.zeros((1, 4, 4, 3)))
