"""Keras' Mask R-CNN weights: layout, layer by layer the numbers of a NumPy network, strictness."""

from pathlib import Path
from typing import Any

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from cellml.models.mask_rcnn import MaskRCNN
from cellml.models.mask_rcnn_settings import MaskRCNNSettings, make_settings
from cellml.weights.matterport import CLASS_LAYERS, keras_layout, read_matterport
from tests.models.keras_mask_rcnn import (
    SMALL,
    KerasMaskRCNN,
    Tensors,
    Widths,
    random_tensors,
    tensor_shapes,
)

SETTINGS = make_settings(
    "matterport_nucleus",
    {
        "backbone_width": SMALL.backbone,
        "fpn_channels": SMALL.fpn,
        "rpn_channels": SMALL.rpn,
        "box_channels": SMALL.box,
        "mask_channels": SMALL.mask,
        "pool_size": SMALL.pool,
        "mask_pool_size": 4,
        "n_classes": SMALL.classes,
    },
)


def write_h5(path: Path, tensors: Tensors, *, inside: str = "") -> Path:
    """Writes tensors as Keras does, with the empty groups of layers that have none."""
    with h5py.File(path, "w") as file:
        root = file.create_group(inside) if inside else file
        if inside:
            file.create_group("optimizer_weights")["iterations:0"] = np.zeros(())
        for layer in ("input_image", "zero_padding2d_1", "activation_1", "ROI", "fpn_p6"):
            root.create_group(layer)
        for name, array in tensors.items():
            root[name] = array
        root.attrs["backend"] = b"tensorflow"
    return path


@pytest.fixture(scope="module")
def tensors() -> Tensors:
    return random_tensors(SMALL)


@pytest.fixture(scope="module")
def variables(tensors: Tensors, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return read_matterport(write_h5(tmp_path_factory.mktemp("h5") / "w.h5", tensors), SETTINGS)


def test_names_and_shapes_of_the_full_coco_file() -> None:
    settings = make_settings("matterport_coco")
    expected = tensor_shapes(Widths())
    assert expected["res4w_branch2c/res4w_branch2c/kernel:0"] == (1, 1, 256, 1024)
    assert expected["mrcnn_bbox_fc/mrcnn_bbox_fc/kernel:0"] == (1024, 324)
    assert expected["mrcnn_mask/mrcnn_mask/kernel:0"] == (1, 1, 256, 81)
    layout = keras_layout(settings)
    assert set(layout) == set(expected)
    image = jnp.zeros((1, 64, 64, 3))
    shapes = jax.eval_shape(MaskRCNN(settings).init, jax.random.key(0), image)
    leaves: Any = flatten_dict(dict(shapes))
    assert {name: leaves[target].shape for name, target in layout.items()} == expected
    assert set(layout.values()) == set(leaves)
    # The total that Keras prints for the published model.
    assert sum(int(np.prod(shape)) for shape in expected.values()) == 64_158_584


def test_every_block_equals_the_numpy_network(tensors: Tensors, variables: Any) -> None:
    model, network = MaskRCNN(SETTINGS), KerasMaskRCNN(tensors)
    image = np.random.default_rng(1).uniform(-1, 1, (64, 128, 3)).astype(np.float32)

    @jax.jit
    def run(variables: Any, image: jax.Array) -> Any:
        pyramid, state = model.apply(
            variables,
            image[None],
            method="pyramid",
            capture_intermediates=True,
            mutable=["intermediates"],
        )
        proposals = model.apply(variables, pyramid, method="propose")
        return pyramid, proposals, state["intermediates"]["backbone"]

    pyramid, (logits, deltas), captured = run(variables, jnp.asarray(image))
    blocks = network.backbone(image.astype(np.float64), SMALL.blocks4)
    assert len(blocks) == 16
    for name, expected in blocks.items():
        found = captured[f"stage{name[0]}_block{ord(name[1]) - ord('a')}"]["__call__"][0]
        assert 0.05 < np.abs(expected).max() < 50, name
        np.testing.assert_allclose(np.asarray(found)[0], expected, atol=1e-4, err_msg=name)
    levels = network.pyramid({2: blocks["2c"], 3: blocks["3d"], 4: blocks["4f"], 5: blocks["5c"]})
    for found, expected in zip(pyramid, levels, strict=True):
        np.testing.assert_allclose(np.asarray(found)[0], expected, atol=1e-4)
    scores, moves = network.propose(levels)
    assert logits.shape == (1, 3 * (512 + 128 + 32 + 8 + 2), 2)
    np.testing.assert_allclose(np.asarray(logits)[0], scores, atol=1e-4)
    np.testing.assert_allclose(np.asarray(deltas)[0], moves, atol=1e-4)


def test_heads_equal_the_numpy_network(tensors: Tensors, variables: Any) -> None:
    model, network = MaskRCNN(SETTINGS), KerasMaskRCNN(tensors)
    rng = np.random.default_rng(2)
    pooled = rng.standard_normal((3, SMALL.pool, SMALL.pool, SMALL.fpn), np.float32)
    mask_pooled = rng.standard_normal((3, 4, 4, SMALL.fpn), np.float32)
    logits, deltas = model.apply(variables, jnp.asarray(pooled), method="classify")
    masks = model.apply(variables, jnp.asarray(mask_pooled), method="masks")
    for i in range(3):
        scores, moves = network.classify(pooled[i].astype(np.float64))
        np.testing.assert_allclose(np.asarray(logits)[i], scores, atol=1e-4)
        np.testing.assert_allclose(np.asarray(deltas)[i], moves, atol=1e-4)
        expected = network.masks(mask_pooled[i].astype(np.float64))
        np.testing.assert_allclose(np.asarray(masks)[i], expected, atol=1e-4)


def test_weights_inside_a_whole_model_and_in_half_precision(
    tensors: Tensors, variables: Any, tmp_path: Path
) -> None:
    half = {name: array.astype(np.float16) for name, array in tensors.items()}
    found = read_matterport(write_h5(tmp_path / "m.h5", half, inside="model_weights"), SETTINGS)
    assert jax.tree.structure(found) == jax.tree.structure(variables)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(variables), strict=True):
        assert a.dtype == jnp.float32
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-3, atol=1e-4)


def test_one_error_names_every_tensor_that_does_not_fit(tensors: Tensors, tmp_path: Path) -> None:
    broken = dict(tensors)
    conv1, bn = "conv1/conv1/bias:0", "bn5c_branch2c/bn5c_branch2c/moving_variance:0"
    del broken[conv1], broken[bn]
    broken["res6a/res6a/kernel:0"] = np.zeros((1, 2), np.float32)
    # The proposal network's layers belong into its own group.
    broken["rpn_class_raw/rpn_class_raw/bias:0"] = broken["rpn_model/rpn_class_raw/bias:0"]
    swapped = "mrcnn_class_conv1/mrcnn_class_conv1/kernel:0"
    broken[swapped] = broken[swapped].transpose(3, 2, 0, 1)
    path = write_h5(tmp_path / "broken.h5", broken)
    with pytest.raises(ValueError, match="5 tensors do not fit") as caught:
        read_matterport(path, SETTINGS)
    message = str(caught.value)
    assert str(path) in message
    assert f"missing {conv1} (4,)" in message
    assert f"missing {bn} (128,)" in message
    assert "extra res6a/res6a/kernel:0 (1, 2)" in message
    assert "extra rpn_class_raw/rpn_class_raw/bias:0 (6,)" in message
    assert f"misshapen {swapped}: expected (3, 3, 8, 16), found (16, 8, 3, 3)" in message


def _two_classes() -> tuple[MaskRCNNSettings, Any]:
    settings = make_settings("matterport_nucleus", {**_changes(), "n_classes": 2})
    image = jnp.zeros((1, 64, 64, 3))
    shapes = jax.eval_shape(MaskRCNN(settings).init, jax.random.key(0), image)
    return settings, jax.tree.map(lambda leaf: jnp.full(leaf.shape, 0.25), shapes)


def _changes() -> dict[str, Any]:
    names = ("backbone_width", "fpn_channels", "rpn_channels", "box_channels", "mask_channels")
    return {name: getattr(SETTINGS, name) for name in (*names, "pool_size", "mask_pool_size")}


@pytest.mark.parametrize("without", [False, True])
def test_class_layers_come_from_fresh_variables(
    tensors: Tensors, variables: Any, tmp_path: Path, without: bool
) -> None:
    settings, fresh = _two_classes()
    kept = {n: a for n, a in tensors.items() if n.split("/")[0] not in CLASS_LAYERS}
    assert len(tensors) - len(kept) == 6
    path = write_h5(tmp_path / "coco.h5", kept if without else tensors)
    found: Any = flatten_dict(read_matterport(path, settings, reinitialise_heads=fresh))
    whole: Any = flatten_dict(variables)
    assert set(found) == set(whole)
    new = {("box", "logits"), ("box", "deltas"), ("mask", "logits")}
    for name, leaf in found.items():
        expected = np.full(leaf.shape, 0.25) if name[1:3] in new else np.asarray(whole[name])
        np.testing.assert_array_equal(np.asarray(leaf), expected)
    assert found[("params", "box", "deltas", "kernel")].shape == (16, 8)


def test_a_file_for_other_classes_is_refused_without_fresh_heads(
    tensors: Tensors, variables: Any, tmp_path: Path
) -> None:
    settings, _ = _two_classes()
    path = write_h5(tmp_path / "coco.h5", tensors)
    with pytest.raises(ValueError, match="6 tensors do not fit"):
        read_matterport(path, settings)
    with pytest.raises(ValueError, match=r"expected params/box/logits/kernel of shape \(16, 2\)"):
        read_matterport(path, settings, reinitialise_heads=variables)


def test_wrong_files_and_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such weights file"):
        read_matterport(tmp_path / "none.h5", SETTINGS)
    text = tmp_path / "text.h5"
    text.write_text("not HDF5")
    with pytest.raises(ValueError, match="expected a Keras weights file"):
        read_matterport(text, SETTINGS)
    with pytest.raises(ValueError, match="found resnet18, norm 'group', bias False"):
        keras_layout(make_settings("cellml"))
