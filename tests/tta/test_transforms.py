"""Laws of the transforms, and of prediction under them."""

import functools
import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cellml.tta import PRESETS, TRANSFORMS, deaugment_labels, predict, resolve_transforms

D4 = tuple(TRANSFORMS.values())
SQUARE, WIDE, TALL = (6, 6, 2), (4, 7, 2), (9, 5, 2)

# Worked out by hand for [[0, 1, 2], [3, 4, 5]].
BY_HAND = {
    "identity": [[0, 1, 2], [3, 4, 5]],
    "hflip": [[2, 1, 0], [5, 4, 3]],
    "vflip": [[3, 4, 5], [0, 1, 2]],
    "rot90": [[2, 5], [1, 4], [0, 3]],
    "rot180": [[5, 4, 3], [2, 1, 0]],
    "rot270": [[3, 0], [4, 1], [5, 2]],
    "transpose": [[0, 3], [1, 4], [2, 5]],
    "antitranspose": [[5, 2], [4, 1], [3, 0]],
}
INVERSES = {name: name for name in BY_HAND} | {"rot90": "rot270", "rot270": "rot90"}


def image_of(shape, seed=0):
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def conv_network(image):
    """A network that knows up from down: nothing about it is symmetric."""
    kernel = jnp.asarray(image_of((3, 3, image.shape[-1], 3), seed=7))
    out = jax.lax.conv_general_dilated(
        image[None], kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return jax.nn.sigmoid(out[0] - 4.0)


def pointwise_network(image):
    """An equivariant network."""
    return jax.nn.sigmoid(3.0 * image - 1.0)


@pytest.mark.parametrize("name", BY_HAND)
def test_apply_matches_the_picture_drawn_by_hand(name):
    labels = np.arange(6).reshape(2, 3)
    np.testing.assert_array_equal(TRANSFORMS[name].apply(labels, axes=(-2, -1)), BY_HAND[name])


@pytest.mark.parametrize(("name", "quarters"), [("rot90", 1), ("rot180", 2), ("rot270", 3)])
def test_rotations_turn_as_numpy_does(name, quarters):
    image = image_of(WIDE)
    np.testing.assert_array_equal(TRANSFORMS[name].apply(image), np.rot90(image, quarters))


@pytest.mark.parametrize("transform", D4, ids=lambda t: t.name)
@pytest.mark.parametrize("shape", [SQUARE, WIDE, TALL])
def test_augment_then_deaugment_is_identity(transform, shape):
    image = image_of(shape)
    for x in (image, jnp.asarray(image)):
        there = transform.apply(x)
        assert type(there) is type(x)
        np.testing.assert_array_equal(transform.inverse.apply(there), image)
    assert transform.inverse.name == INVERSES[transform.name]


def test_leading_axes_are_left_alone():
    batch = image_of((3, *WIDE))
    turned = TRANSFORMS["rot90"].apply(batch)
    for one, expected in zip(turned, batch, strict=True):
        np.testing.assert_array_equal(one, np.rot90(expected))


@pytest.mark.parametrize(("second", "first"), list(itertools.product(D4, D4)), ids=lambda t: t.name)
def test_composition_table(second, first):
    image = image_of(WIDE)
    product = second.after(first)
    np.testing.assert_array_equal(product.apply(image), second.apply(first.apply(image)))
    assert first.inverse.after(first) is TRANSFORMS["identity"]


def test_presets():
    assert [t.name for t in PRESETS["none"]] == ["identity"]
    assert [t.name for t in PRESETS["dissertation6"]] == [
        "identity", "hflip", "vflip", "rot90", "rot180", "rot270",
    ]  # fmt: skip
    assert {t.name for t in PRESETS["d4"]} == set(BY_HAND)
    with pytest.raises(
        ValueError, match=r"unknown TTA preset 'd5'; known: d4, dissertation6, none"
    ):
        resolve_transforms("d5")
    with pytest.raises(ValueError, match="no transforms"):
        resolve_transforms(())


@pytest.mark.parametrize(
    ("shape", "preset", "chunk"),
    [
        (SQUARE, "d4", None),
        (SQUARE, "d4", 3),
        (SQUARE, "dissertation6", 1),
        (WIDE, "d4", None),
        (WIDE, "dissertation6", 3),
        (WIDE, "none", None),
    ],
)
def test_predict_equals_a_loop(shape, preset, chunk):
    image = image_of(shape)
    expected = [
        t.inverse.apply(np.asarray(conv_network(jnp.asarray(t.apply(image)))))
        for t in PRESETS[preset]
    ]
    run = functools.partial(predict, conv_network, transforms=preset, chunk=chunk)
    found = jax.jit(run)(image)
    assert found.shape == (len(expected), shape[0], shape[1], 3)
    np.testing.assert_allclose(found, np.stack(expected), atol=1e-6)
    # The network is not symmetric, so a wrong inverse cannot hide.
    if preset != "none":
        assert np.abs(np.diff(found, axis=0)).max() > 0.05


def test_predict_in_any_order_of_transforms():
    image, order = image_of(WIDE), ("rot90", "identity", "antitranspose", "hflip", "rot90")
    found = predict(conv_network, image, transforms=[TRANSFORMS[name] for name in order])
    for name, version in zip(order, found, strict=True):
        alone = predict(conv_network, image, transforms=[TRANSFORMS[name]])
        np.testing.assert_allclose(version, alone[0], atol=1e-6)


@pytest.mark.parametrize("shape", [SQUARE, TALL])
def test_equivariant_network_gives_equal_versions(shape):
    found = np.asarray(predict(pointwise_network, image_of(shape)))
    np.testing.assert_array_equal(found, np.broadcast_to(found[:1], found.shape))


def test_predict_jit_and_vmap():
    batch = jnp.asarray(image_of((2, *WIDE)))
    run = jax.jit(jax.vmap(lambda image: predict(conv_network, image, chunk=2)))
    expected = np.stack([predict(conv_network, image) for image in batch])
    np.testing.assert_allclose(run(batch), expected, atol=1e-6)


def test_chunks_bound_what_is_alive_at_once():
    """The traced program convolves 2 copies at a time, and all 8 only without a chunk."""

    def batches(chunk):
        run = functools.partial(predict, conv_network, chunk=chunk)
        return re.findall(
            r"f32\[(\d+),1?,?6,6,3\] = conv", str(jax.make_jaxpr(run)(image_of(SQUARE)))
        )

    print(jax.make_jaxpr(functools.partial(predict, conv_network, chunk=2))(image_of(SQUARE)))
    assert set(batches(2)) == {"2"}
    assert set(batches(None)) == {"8"}


def quadratic(shape):
    """A scalar field and its exact gradient (d/dy, d/dx) in pixels, without a symmetry."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    field = 0.3 * y**2 + 0.7 * x * y - 0.2 * x**2 + y
    return field, np.stack([0.6 * y + 0.7 * x + 1, 0.7 * y - 0.4 * x], -1)


def central_differences(image):
    """Gradient of the image: equivariant as a vector field. Channels dx, value, dy, extra."""
    field = image[..., 0]
    dy, dx = jnp.gradient(field)
    return jnp.stack([dx, field, dy, field], -1)


@pytest.mark.parametrize("shape", [(7, 7), (6, 9)])
@pytest.mark.parametrize("chunk", [None, 3])
def test_gradient_field_turns_with_the_image(shape, chunk):
    field, gradient = quadratic(shape)
    found = predict(central_differences, field[..., None], vector_channels=((2, 0),), chunk=chunk)
    inner = (slice(None), slice(1, -1), slice(1, -1))  # differences are one-sided at the border
    for version in np.asarray(found)[inner]:
        np.testing.assert_allclose(version[..., [2, 0]], gradient[1:-1, 1:-1], atol=2e-5)
        np.testing.assert_allclose(version[..., 1], field[1:-1, 1:-1], atol=2e-5)


@pytest.mark.parametrize("transform", D4, ids=lambda t: t.name)
def test_vectors_there_and_back(transform):
    _, gradient = quadratic((4, 6))
    there = transform.apply(gradient, vector_channels=((0, 1),))
    back = transform.inverse.apply(there, vector_channels=((0, 1),))
    np.testing.assert_array_equal(back, gradient)


def test_predict_refuses():
    image = image_of(SQUARE)
    with pytest.raises(ValueError, match="must keep height and width"):
        predict(lambda x: x[::2], image)
    with pytest.raises(ValueError, match="chunk must be at least 1, found 0"):
        predict(pointwise_network, image, chunk=0)
    with pytest.raises(ValueError, match=r"image must be \(h, w, c\)"):
        predict(pointwise_network, image[..., 0])
    for pairs in [((0, 0),), ((0, 2),), ((0, 1), (1, 0))]:
        with pytest.raises(ValueError, match="disjoint pairs"):
            predict(pointwise_network, image, vector_channels=pairs)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
def test_deaugment_labels(dtype):
    labels = np.arange(24).reshape(4, 6).astype(dtype)
    for preset in PRESETS:
        versions = [t.apply(labels, axes=(-2, -1)) for t in PRESETS[preset]]
        stack = deaugment_labels(versions, preset)
        assert stack.dtype == dtype
        np.testing.assert_array_equal(stack, np.broadcast_to(labels, (len(versions), 4, 6)))
    on_device = deaugment_labels([jnp.asarray(labels.astype(np.int32))], "none")
    assert isinstance(on_device, jax.Array)


def test_deaugment_labels_refuses():
    labels = np.zeros((4, 6), np.int32)
    with pytest.raises(ValueError, match="6 transforms, but 1 label images"):
        deaugment_labels([labels], "dissertation6")
    with pytest.raises(ValueError, match=r"label image of rot90: expected \(4, 6\)"):
        deaugment_labels([labels, labels], [TRANSFORMS["identity"], TRANSFORMS["rot90"]])
