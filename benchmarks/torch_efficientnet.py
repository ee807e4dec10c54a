"""`cellml.models.efficientnet.EfficientNet` in PyTorch, for the benchmarks."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from cellml.models.efficientnet_blocks import BlockSpec, block_specs, head_filters

EPSILON, MOMENTUM = 1e-3, 0.01  # torch's momentum is the share of the new statistics


class Conv(nn.Module):
    """Convolution without bias, with TensorFlow's SAME padding, norm and, on request, swish."""

    def __init__(
        self, channels: int, filters: int, size: int = 1, stride: int = 1, **options: Any
    ) -> None:
        """Builds the two layers; `options` are `groups` and `swish`."""
        super().__init__()
        self.swish = options.pop("swish", True)
        self.size, self.stride = size, stride
        pad = (size - 1) // 2 if stride == 1 else 0
        self.conv = nn.Conv2d(channels, filters, size, stride, pad, bias=False, **options)
        self.norm = nn.BatchNorm2d(filters, eps=EPSILON, momentum=MOMENTUM)

    def forward(self, x: Tensor) -> Tensor:
        """Applies the three."""
        if self.stride > 1:
            height, width = (
                max((-(-n // self.stride) - 1) * self.stride + self.size - n, 0)
                for n in x.shape[2:]
            )
            sides = (width // 2, width - width // 2, height // 2, height - height // 2)
            x = functional.pad(x, sides)
        x = self.norm(self.conv(x))
        return functional.silu(x, inplace=True) if self.swish else x


class Block(nn.Module):
    """`cellml.models.efficientnet_blocks.Block` without drop-connect."""

    def __init__(self, spec: BlockSpec) -> None:
        """Builds the layers."""
        super().__init__()
        self.residual = spec.stride == 1 and spec.channels == spec.filters
        self.expand = Conv(spec.channels, spec.inner) if spec.expand > 1 else None
        self.depthwise = Conv(spec.inner, spec.inner, spec.kernel, spec.stride, groups=spec.inner)
        self.reduce = nn.Conv2d(spec.inner, spec.squeezed, 1)
        self.excite = nn.Conv2d(spec.squeezed, spec.inner, 1)
        self.project = Conv(spec.inner, spec.filters, swish=False)

    def activation(self, x: Tensor) -> Tensor:
        """Up to the swish after the depthwise convolution."""
        return self.depthwise(x if self.expand is None else self.expand(x))

    def forward(self, x: Tensor) -> Tensor:
        """Applies the block."""
        y = self.activation(x)
        gate = functional.silu(self.reduce(y.mean((2, 3), keepdim=True)))
        y = self.project(y * torch.sigmoid(self.excite(gate)))
        return x + y if self.residual else y


class TorchEfficientNet(nn.Module):
    """`cellml.models.efficientnet.EfficientNet` without drop-connect."""

    def __init__(self, variant: str, channels: int, n_classes: int) -> None:
        """Builds a variant for images of `channels`."""
        super().__init__()
        specs = block_specs(variant)
        self.stem = Conv(channels, specs[0].channels, 3, 2)
        self.blocks = nn.ModuleDict({spec.name: Block(spec) for spec in specs})
        self.head = Conv(specs[-1].filters, head_filters(variant))
        self.classifier = nn.Linear(head_filters(variant), n_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Returns logits (b, k)."""
        x = self.stem(x)
        for block in self.blocks.values():
            x = block(x)
        return self.classifier(self.head(x).mean((2, 3)))

    def embed(self, x: Tensor) -> Tensor:
        """Returns features (b, f): the pool of block6a's activation."""
        x = self.stem(x)
        for name, block in self.blocks.items():
            if name == "block6a":
                return block.activation(x).mean((2, 3))
            x = block(x)
        raise ValueError("no block6a")


def load_weights(model: TorchEfficientNet, weights: dict[str, np.ndarray]) -> None:
    """Copies flax's variables into the PyTorch network.

    Args:
      model: Network of the same variant.
      weights: By path such as `params/block2a/expand/kernel`.

    Raises:
      ValueError: A weight was left over, or one is missing.
    """
    left = dict(weights)

    def put(target: Tensor, path: str) -> None:
        if path not in left:
            raise ValueError(f"missing weight {path}")
        array = left.pop(path)
        if array.ndim == 4:
            array = array.transpose(3, 2, 0, 1)
        elif array.ndim == 2:
            array = array.T
        target.data.copy_(torch.from_numpy(np.array(array)).reshape(target.shape))

    def put_norm(layer: nn.BatchNorm2d, path: str) -> None:
        put(layer.weight, f"params/{path}/scale")
        put(layer.bias, f"params/{path}/bias")
        put(layer.running_mean, f"batch_stats/{path}/mean")
        put(layer.running_var, f"batch_stats/{path}/var")

    for name, layer in (("stem", model.stem), ("head", model.head)):
        put(layer.conv.weight, f"params/{name}/conv/kernel")
        put_norm(layer.norm, f"{name}/norm")
    for name, block in model.blocks.items():
        for part in ("expand", "depthwise", "project"):
            layer = getattr(block, part)
            if layer is not None:
                put(layer.conv.weight, f"params/{name}/{part}/kernel")
                put_norm(layer.norm, f"{name}/{part}_norm")
        for part in ("reduce", "excite"):
            put(getattr(block, part).weight, f"params/{name}/{part}/kernel")
            put(getattr(block, part).bias, f"params/{name}/{part}/bias")
    put(model.classifier.weight, "params/classifier/kernel")
    put(model.classifier.bias, "params/classifier/bias")
    if left:
        raise ValueError(f"weights left over: {sorted(left)}")
