"""`cellml.models.unet.UNet` in PyTorch, for the benchmarks: same layers, same weights."""

from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from cellml.models.unet import PRESETS, UNet


class Block(nn.Module):
    """`cellml.models.unet.ConvBlock`."""

    def __init__(self, channels: int, filters: int, spec: UNet) -> None:
        """Builds `spec.convs` convolutions and, where needed, the shortcut."""
        super().__init__()
        self.residual = spec.residual
        group = spec.norm == "group"
        sizes = [channels] + [filters] * spec.convs
        self.convs = nn.ModuleList(
            nn.Conv2d(a, b, 3, padding=1, bias=not group) for a, b in pairwise(sizes)
        )
        # flax's epsilon, so that the outputs can be compared
        norms = [nn.GroupNorm(filters // min(16, filters), filters, eps=1e-6) for _ in self.convs]
        self.norms = nn.ModuleList(norms if group else [])
        self.shortcut = (
            nn.Conv2d(channels, filters, 1) if self.residual and channels != filters else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """Applies the block."""
        y = x
        for i, conv in enumerate(self.convs):
            y = conv(y)
            if self.norms:
                y = self.norms[i](y)
            if i + 1 < len(self.convs) or not self.residual:
                y = functional.relu(y, inplace=True)
        if self.residual:
            y = functional.relu_(y + (x if self.shortcut is None else self.shortcut(x)))
        return y


class TorchUNet(nn.Module):
    """`cellml.models.unet.UNet` without dropout."""

    def __init__(self, preset: str, filters: tuple[int, ...], out_channels: int) -> None:
        """Builds a preset for images of three channels.

        Args:
          preset: Key of `PRESETS`.
          filters: Channels of each level; () for the preset's own.
          out_channels: Number of heads.
        """
        super().__init__()
        options: dict[str, Any] = dict(PRESETS[preset])
        if filters:
            options["filters"] = filters
        spec = UNet(out_channels=out_channels, **options)
        self.factor = spec.stem_factor
        widths = spec.filters
        inputs = [3 * self.factor**2, *widths[:-1]]
        self.down = nn.ModuleList(Block(a, b, spec) for a, b in zip(inputs, widths, strict=True))
        self.up, self.upconv = nn.ModuleDict(), nn.ModuleDict()
        for level in reversed(range(len(widths) - 1)):
            below, here = widths[level + 1], widths[level]
            if spec.up_conv:
                self.upconv[str(level)] = nn.Conv2d(below, here, spec.up_conv)
                below = here
            self.up[str(level)] = Block(here + below, here, spec)
        self.tail = nn.Conv2d(widths[0], spec.tail, 3, padding=1) if spec.tail else None
        self.head = nn.Conv2d(spec.tail or widths[0], out_channels * self.factor**2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Returns logits (b, k, h, w)."""
        if self.factor > 1:
            x = functional.pixel_unshuffle(x, self.factor)
            x = x.contiguous(memory_format=torch.channels_last)
        skips = []
        for level, block in enumerate(self.down):
            x = block(functional.max_pool2d(x, 2) if level else x)
            skips.append(x)
        for level in reversed(range(len(skips) - 1)):
            x = functional.interpolate(x, scale_factor=2, mode="nearest")
            if self.upconv:
                # TensorFlow's SAME pads an even kernel at the bottom and right.
                x = functional.relu_(self.upconv[str(level)](functional.pad(x, (0, 1, 0, 1))))
            x = self.up[str(level)](torch.cat([skips[level], x], 1))
        if self.tail is not None:
            x = functional.relu_(self.tail(x))
        x = self.head(x)
        return functional.pixel_shuffle(x, self.factor) if self.factor > 1 else x


def load_weights(model: TorchUNet, weights: dict[str, np.ndarray]) -> None:
    """Copies flax's parameters into the PyTorch network.

    Args:
      model: Network of the same preset.
      weights: By path such as `down0/Conv_0/kernel` (HWIO).

    Raises:
      ValueError: A weight was left over, or one is missing.
    """
    left = dict(weights)

    def put(layer: Any, path: str) -> None:
        kernel = left.pop(f"{path}/kernel", None)
        weight = left.pop(f"{path}/scale") if kernel is None else kernel.transpose(3, 2, 0, 1)
        layer.weight.data.copy_(torch.from_numpy(np.array(weight)))
        if layer.bias is not None:
            layer.bias.data.copy_(torch.from_numpy(np.array(left.pop(f"{path}/bias"))))

    blocks = {f"down{i}": block for i, block in enumerate(model.down)}
    blocks |= {f"up{i}": block for i, block in model.up.items()}
    for name, block in blocks.items():
        convs = [*block.convs, *([] if block.shortcut is None else [block.shortcut])]
        for i, conv in enumerate(convs):
            put(conv, f"{name}/Conv_{i}")
        for i, norm in enumerate(block.norms):
            put(norm, f"{name}/GroupNorm_{i}")
    for level, conv in model.upconv.items():
        put(conv, f"upconv{level}")
    if model.tail is not None:
        put(model.tail, "tail")
    put(model.head, "head")
    if left:
        raise ValueError(f"weights left over: {sorted(left)}")
    if model.factor > 1:
        _reorder_stem(model)


def _reorder_stem(model: TorchUNet) -> None:
    """Channel order of `space_to_depth` (pixel, colour) to pixel_unshuffle's (colour, pixel)."""
    pixels = model.factor**2
    first = model.down[0]
    convs = [first.convs[0], *([] if first.shortcut is None else [first.shortcut])]
    for conv in convs:
        w = conv.weight.data
        shape = w.shape
        w = w.reshape(shape[0], pixels, -1, *shape[2:]).transpose(1, 2).reshape(shape)
        conv.weight.data.copy_(w)
    for data in (model.head.weight.data, model.head.bias.data):
        shape = data.shape
        data.copy_(data.reshape(pixels, -1, *shape[1:]).transpose(0, 1).reshape(shape).clone())
