"""Mask R-CNN of matterport/Mask_RCNN restated: names and shapes of its tensors, and the network.

Nothing here is taken from cellml: both are the description in Keras' terms, with NumPy.
"""

from typing import NamedTuple

import numpy as np

from tests.models.numpy_layers import (
    batch_norm,
    conv,
    deconv_2x2,
    max_pool_3x3,
    relu,
    upsample,
)

Tensors = dict[str, np.ndarray]
"""By path in the file, `conv1/conv1/kernel:0`."""


class Widths(NamedTuple):
    """Sizes of a network; the defaults are those of the COCO weights."""

    blocks4: int = 23
    backbone: int = 64
    fpn: int = 256
    rpn: int = 512
    box: int = 1024
    mask: int = 256
    classes: int = 81
    pool: int = 7


SMALL = Widths(blocks4=6, backbone=4, fpn=8, rpn=12, box=16, mask=6, classes=3, pool=3)
"""resnet50 with few channels."""


def stage_blocks(blocks4: int) -> list[tuple[int, str]]:
    """Stage and letter of every residual block, in order."""
    depths = {2: 3, 3: 4, 4: blocks4, 5: 3}
    return [(stage, chr(97 + i)) for stage, n in depths.items() for i in range(n)]


def tensor_shapes(sizes: Widths) -> dict[str, tuple[int, ...]]:
    """Every tensor of the weights file with its shape."""
    shapes: dict[str, tuple[int, ...]] = {}

    def layer(name: str, *kernel: int, group: str = "", filters: int = 0) -> None:
        path = f"{group or name}/{name}"
        shapes[f"{path}/kernel:0"] = kernel
        shapes[f"{path}/bias:0"] = (filters or kernel[-1],)

    def norm(name: str, filters: int) -> None:
        for tensor in ("gamma", "beta", "moving_mean", "moving_variance"):
            shapes[f"{name}/{name}/{tensor}:0"] = (filters,)

    layer("conv1", 7, 7, 3, sizes.backbone)
    norm("bn_conv1", sizes.backbone)
    channels = sizes.backbone
    for stage, letter in stage_blocks(sizes.blocks4):
        inner = sizes.backbone * 2 ** (stage - 2)
        convs = [("2a", 1, channels, inner), ("2b", 3, inner, inner), ("2c", 1, inner, 4 * inner)]
        if letter == "a":
            convs.append(("1", 1, channels, 4 * inner))
        for branch, size, below, here in convs:
            layer(f"res{stage}{letter}_branch{branch}", size, size, below, here)
            norm(f"bn{stage}{letter}_branch{branch}", here)
        channels = 4 * inner
    for n in range(2, 6):
        layer(f"fpn_c{n}p{n}", 1, 1, sizes.backbone * 2**n, sizes.fpn)
        layer(f"fpn_p{n}", 3, 3, sizes.fpn, sizes.fpn)
    layer("rpn_conv_shared", 3, 3, sizes.fpn, sizes.rpn, group="rpn_model")
    layer("rpn_class_raw", 1, 1, sizes.rpn, 6, group="rpn_model")
    layer("rpn_bbox_pred", 1, 1, sizes.rpn, 12, group="rpn_model")
    layer("mrcnn_class_conv1", sizes.pool, sizes.pool, sizes.fpn, sizes.box)
    layer("mrcnn_class_conv2", 1, 1, sizes.box, sizes.box)
    for n in (1, 2):
        norm(f"mrcnn_class_bn{n}", sizes.box)
    layer("mrcnn_class_logits", sizes.box, sizes.classes)
    layer("mrcnn_bbox_fc", sizes.box, 4 * sizes.classes)
    for n in range(1, 5):
        layer(f"mrcnn_mask_conv{n}", 3, 3, sizes.fpn if n == 1 else sizes.mask, sizes.mask)
        norm(f"mrcnn_mask_bn{n}", sizes.mask)
    layer("mrcnn_mask_deconv", 2, 2, sizes.mask, sizes.mask, filters=sizes.mask)
    layer("mrcnn_mask", 1, 1, sizes.mask, sizes.classes)
    return shapes


def random_tensors(sizes: Widths, seed: int = 0) -> Tensors:
    """Values that keep activations near 1 through the network and leave no tensor idle."""
    rng = np.random.default_rng(seed)
    tensors = {}
    for name, shape in tensor_shapes(sizes).items():
        noise = rng.standard_normal(shape)
        if name.endswith("kernel:0"):
            fan_in = shape[-1] * 4 if "deconv" in name else np.prod(shape[:-1])
            noise *= np.sqrt(2 / fan_in)
        elif name.endswith(("gamma:0", "moving_variance:0")):
            noise = rng.uniform(0.3, 0.8, shape)
        else:
            noise *= 0.1
        tensors[name] = noise.astype(np.float32)
    return tensors


class KerasMaskRCNN:
    """The network on one image (h, w, c), from its tensors."""

    def __init__(self, tensors: Tensors) -> None:
        """Sorts the tensors by layer."""
        self.layers: dict[str, dict[str, np.ndarray]] = {}
        for path, array in tensors.items():
            _, layer, name = path.split("/")
            self.layers.setdefault(layer, {})[name] = array

    def _conv(self, x: np.ndarray, name: str, stride: int = 1, pad: int = 0) -> np.ndarray:
        layer = self.layers[name]
        return conv(x, layer["kernel:0"], layer["bias:0"], stride=stride, pad=(pad, pad))

    def _norm(self, x: np.ndarray, name: str) -> np.ndarray:
        layer = self.layers[name]
        order = ("gamma:0", "beta:0", "moving_mean:0", "moving_variance:0")
        return batch_norm(x, *(layer[key] for key in order))

    def block(self, x: np.ndarray, stage: int, letter: str) -> np.ndarray:
        """Residual block; the stride is in branch2a and in branch1."""
        stride = 2 if letter == "a" and stage > 2 else 1
        tag = f"{stage}{letter}_branch"
        y = relu(self._norm(self._conv(x, f"res{tag}2a", stride), f"bn{tag}2a"))
        y = relu(self._norm(self._conv(y, f"res{tag}2b", pad=1), f"bn{tag}2b"))
        y = self._norm(self._conv(y, f"res{tag}2c"), f"bn{tag}2c")
        if letter == "a":
            x = self._norm(self._conv(x, f"res{tag}1", stride), f"bn{tag}1")
        return relu(x + y)

    def backbone(self, x: np.ndarray, blocks4: int) -> dict[str, np.ndarray]:
        """Outputs of every block by `2a`, `2b`, ..."""
        x = max_pool_3x3(relu(self._norm(self._conv(x, "conv1", 2, 3), "bn_conv1")))
        outputs = {}
        for stage, letter in stage_blocks(blocks4):
            outputs[f"{stage}{letter}"] = x = self.block(x, stage, letter)
        return outputs

    def pyramid(self, features: dict[int, np.ndarray]) -> list[np.ndarray]:
        """P2 to P6 from C2 to C5."""
        merged = {5: self._conv(features[5], "fpn_c5p5")}
        for n in (4, 3, 2):
            merged[n] = upsample(merged[n + 1]) + self._conv(features[n], f"fpn_c{n}p{n}")
        levels = [self._conv(merged[n], f"fpn_p{n}", pad=1) for n in range(2, 6)]
        return [*levels, levels[-1][::2, ::2]]

    def propose(self, levels: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Logits and deltas of every anchor, put in their order by loops."""
        logits, deltas = [], []
        for level in levels:
            shared = relu(self._conv(level, "rpn_conv_shared", pad=1))
            classes = self._conv(shared, "rpn_class_raw")
            boxes = self._conv(shared, "rpn_bbox_pred")
            for y in range(level.shape[0]):
                for x in range(level.shape[1]):
                    for ratio in range(3):
                        logits.append(classes[y, x, 2 * ratio : 2 * ratio + 2])
                        deltas.append(boxes[y, x, 4 * ratio : 4 * ratio + 4])
        return np.array(logits), np.array(deltas)

    def classify(self, pooled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Class logits (k) and deltas (k, 4) of one region."""
        x = relu(self._norm(self._conv(pooled, "mrcnn_class_conv1"), "mrcnn_class_bn1"))
        x = relu(self._norm(self._conv(x, "mrcnn_class_conv2"), "mrcnn_class_bn2"))[0, 0]
        logits, boxes = self.layers["mrcnn_class_logits"], self.layers["mrcnn_bbox_fc"]
        deltas = x @ boxes["kernel:0"] + boxes["bias:0"]
        return x @ logits["kernel:0"] + logits["bias:0"], deltas.reshape(-1, 4)

    def masks(self, pooled: np.ndarray) -> np.ndarray:
        """Mask logits (2s, 2s, k) of one region."""
        x = pooled
        for n in range(1, 5):
            name = f"mrcnn_mask_conv{n}"
            x = relu(self._norm(self._conv(x, name, pad=1), f"mrcnn_mask_bn{n}"))
        layer = self.layers["mrcnn_mask_deconv"]
        x = relu(deconv_2x2(x, layer["kernel:0"], layer["bias:0"]))
        return self._conv(x, "mrcnn_mask")
