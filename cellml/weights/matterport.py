"""Weights of matterport/Mask_RCNN (Keras, HDF5) into our parameter tree, and nothing unchecked.

The COCO weights are `mask_rcnn_coco.h5` of that repository's release v1.0 (resnet101, 81 classes).
Every array loads as it is: convolutions are (h, w, in, out), dense layers (in, out), and the
transposed convolution (h, w, out, in) on both sides.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from cellml.models.mask_rcnn import MaskRCNN
from cellml.models.mask_rcnn_settings import STRIDES, MaskRCNNSettings
from cellml.models.resnet import BACKBONES

CLASS_LAYERS = ("mrcnn_class_logits", "mrcnn_bbox_fc", "mrcnn_mask")
"""Layers whose shape depends on the number of classes."""

_CONV = {"kernel:0": ("params", "kernel"), "bias:0": ("params", "bias")}
_NORM = {
    "gamma:0": ("params", "scale"),
    "beta:0": ("params", "bias"),
    "moving_mean:0": ("batch_stats", "mean"),
    "moving_variance:0": ("batch_stats", "var"),
}


def read_matterport(
    path: str | Path,
    settings: MaskRCNNSettings,
    *,
    reinitialise_heads: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Reads a weights file of matterport/Mask_RCNN, or of anything that was trained with it.

    Args:
      path: The `.h5` file: weights alone, or a whole model with them in `model_weights`.
      settings: The network that the weights are for; `norm="frozen"`, `bias=True` and a
        bottleneck backbone.
      reinitialise_heads: Fresh variables of the same network. Given, the three layers that depend
        on the number of classes (`CLASS_LAYERS`) come from here, and the file's are not read.
    Returns:
      Variables of `MaskRCNN(settings)`, float32.
    Raises:
      FileNotFoundError: There is no such file.
      ValueError: It is not HDF5; the settings describe a network that Keras' layout does not know;
        or tensors are missing, left over or of another shape, in which case the message lists all.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such weights file")
    targets, shapes = keras_layout(settings), _expected_shapes(settings)
    found = _read_tensors(path)
    tree: dict[tuple[str, ...], Any] = {}
    if reinitialise_heads is not None:
        fresh: Any = flatten_dict(dict(reinitialise_heads))
        for name in [n for n in targets if n.split("/")[-2] in CLASS_LAYERS]:
            target = targets.pop(name)
            found.pop(name, None)
            tree[target] = _fresh_array(fresh, target, shapes[target])
    _check_layout(path, {name: shapes[target] for name, target in targets.items()}, found)
    for name, target in targets.items():
        tree[target] = jnp.asarray(found[name], jnp.float32)
    return unflatten_dict(tree)


def keras_layout(settings: MaskRCNNSettings) -> dict[str, tuple[str, ...]]:
    """Where each tensor of the file goes.

    Args:
      settings: The network.
    Returns:
      `{"conv1/conv1/kernel:0": ("params", "backbone", "stem", "conv", "kernel"), ...}`
    Raises:
      ValueError: Keras' layout does not have this backbone, norm or bias.
    """
    layout = BACKBONES.get(settings.backbone)
    if layout is None or not layout.bottleneck or settings.norm != "frozen" or not settings.bias:
        raise ValueError(
            "matterport weights need a resnet50 or resnet101 with norm 'frozen' and biases, found "
            f"{settings.backbone}, norm {settings.norm!r}, bias {settings.bias}"
        )
    layers = {
        **_backbone_layers(layout.depths),
        **{f"fpn_c{n}p{n}": f"fpn/lateral{n}" for n in range(2, 6)},
        **{f"fpn_p{n}": f"fpn/output{n}" for n in range(2, 6)},
        "rpn_conv_shared": "rpn/shared",
        "rpn_class_raw": "rpn/logits",
        "rpn_bbox_pred": "rpn/deltas",
        **{f"mrcnn_class_conv{n}": f"box/hidden{n}/conv" for n in (1, 2)},
        **{f"mrcnn_class_bn{n}": f"box/hidden{n}/norm" for n in (1, 2)},
        "mrcnn_class_logits": "box/logits",
        "mrcnn_bbox_fc": "box/deltas",
        **{f"mrcnn_mask_conv{n + 1}": f"mask/conv{n + 1}/conv" for n in range(settings.mask_convs)},
        **{f"mrcnn_mask_bn{n + 1}": f"mask/conv{n + 1}/norm" for n in range(settings.mask_convs)},
        "mrcnn_mask_deconv": "mask/deconv",
        "mrcnn_mask": "mask/logits",
    }
    targets = {}
    for layer, place in layers.items():
        # The region proposal network is a Keras model of its own, which holds its layers.
        group = "rpn_model" if layer.startswith("rpn_") else layer
        tensors = _NORM if place.endswith("norm") else _CONV
        for tensor, (collection, leaf) in tensors.items():
            targets[f"{group}/{layer}/{tensor}"] = (collection, *place.split("/"), leaf)
    return targets


def _backbone_layers(depths: tuple[int, ...]) -> dict[str, str]:
    """Keras' names of the backbone's layers: `res4b_branch2a`, `bn4b_branch2a` and so on."""
    layers = {"conv1": "backbone/stem/conv", "bn_conv1": "backbone/stem/norm"}
    for stage, depth in enumerate(depths, start=2):
        for i in range(depth):
            branches = {"2a": "a", "2b": "b", "2c": "c"} | ({"1": "shortcut"} if i == 0 else {})
            for branch, ours in branches.items():
                block, name = f"{stage}{chr(ord('a') + i)}", f"stage{stage}_block{i}/{ours}"
                layers[f"res{block}_branch{branch}"] = f"backbone/{name}/conv"
                layers[f"bn{block}_branch{branch}"] = f"backbone/{name}/norm"
    return layers


def _expected_shapes(settings: MaskRCNNSettings) -> dict[tuple[str, ...], tuple[int, ...]]:
    """Shape of every leaf of the network's variables."""
    side = STRIDES[-1]
    image = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    variables = jax.eval_shape(MaskRCNN(settings).init, jax.random.key(0), image)
    leaves: Any = flatten_dict(dict(variables))
    return {path: leaf.shape for path, leaf in leaves.items()}


def _read_tensors(path: Path) -> dict[str, np.ndarray]:
    """All arrays of the file by their path."""
    found: dict[str, np.ndarray] = {}

    def collect(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = item[()]

    try:
        with h5py.File(path, "r") as file:
            root: Any = file.get("model_weights", file)
            root.visititems(collect)
    except OSError as error:
        raise ValueError(f"{path}: expected a Keras weights file (.h5), found {error}") from error
    return found


def _fresh_array(
    fresh: Mapping[tuple[str, ...], Any], target: tuple[str, ...], shape: tuple[int, ...]
) -> Any:
    """The leaf of the fresh variables that stands for one that is not read."""
    name, leaf = "/".join(target), fresh.get(target)
    if leaf is None or leaf.shape != shape:
        found = "none" if leaf is None else str(leaf.shape)
        raise ValueError(f"reinitialise_heads: expected {name} of shape {shape}, found {found}")
    return leaf


def _check_layout(
    path: Path, expected: Mapping[str, tuple[int, ...]], found: Mapping[str, np.ndarray]
) -> None:
    """Raises ValueError with every tensor that is missing, left over or of another shape."""
    problems = [f"missing {name} {shape}" for name, shape in expected.items() if name not in found]
    problems += [f"extra {name} {a.shape}" for name, a in found.items() if name not in expected]
    problems += [
        f"misshapen {name}: expected {shape}, found {found[name].shape}"
        for name, shape in expected.items()
        if name in found and found[name].shape != shape
    ]
    if problems:
        raise ValueError(
            f"{path}: {len(problems)} tensors do not fit the network:\n  " + "\n  ".join(problems)
        )
