"""`cellml.models.mask_rcnn.MaskRCNN` in PyTorch, for the benchmarks: same layers, same weights.

Modules carry the names of the flax parameters, so that weights are copied by path.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from cellml.models.mask_rcnn_settings import MaskRCNNSettings
from cellml.models.resnet import BACKBONES


def make_norm(norm: str, filters: int) -> nn.Module:
    """Batch norm with stored statistics, or group norm with flax's epsilon."""
    if norm == "frozen":
        return nn.BatchNorm2d(filters, eps=1e-3)
    return nn.GroupNorm(filters // min(16, filters), filters, eps=1e-6)


class ConvNorm(nn.Module):
    """`cellml.models.resnet.ConvNorm`."""

    def __init__(
        self,
        channels: int,
        filters: int,
        size: int,
        spec: MaskRCNNSettings,
        *,
        stride: int = 1,
        relu: bool = True,
    ) -> None:
        """Builds convolution and norm."""
        super().__init__()
        pad = (size - 1) // 2
        self.conv = nn.Conv2d(channels, filters, size, stride, pad, bias=spec.bias)
        self.norm = make_norm(spec.norm, filters)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        """Applies them."""
        x = self.norm(self.conv(x))
        return functional.relu(x, inplace=True) if self.relu else x


class Block(nn.Module):
    """`cellml.models.resnet.Block`."""

    def __init__(
        self, channels: int, inner: int, stride: int, bottleneck: bool, spec: MaskRCNNSettings
    ) -> None:
        """Builds the convolutions and, where needed, the shortcut."""
        super().__init__()
        self.filters = inner * (4 if bottleneck else 1)
        if bottleneck:
            self.a = ConvNorm(channels, inner, 1, spec, stride=stride)
            self.b = ConvNorm(inner, inner, 3, spec)
            self.c = ConvNorm(inner, self.filters, 1, spec, relu=False)
        else:
            self.a = ConvNorm(channels, inner, 3, spec, stride=stride)
            self.b = ConvNorm(inner, inner, 3, spec, relu=False)
        self.bottleneck, self.project = bottleneck, stride > 1 or channels != self.filters
        if self.project:
            self.shortcut = ConvNorm(channels, self.filters, 1, spec, stride=stride, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        """Applies the block."""
        y = self.b(self.a(x))
        if self.bottleneck:
            y = self.c(y)
        return functional.relu_(y + (self.shortcut(x) if self.project else x))


class Backbone(nn.Module):
    """`cellml.models.resnet.ResNet`."""

    def __init__(self, spec: MaskRCNNSettings) -> None:
        """Builds stem and stages."""
        super().__init__()
        layout, width = BACKBONES[spec.backbone], spec.backbone_width
        self.stem = ConvNorm(3, width, 7, spec, stride=2)
        self.stages: list[list[str]] = []
        self.channels = []
        channels = width
        for stage, depth in enumerate(layout.depths, start=2):
            self.stages.append([f"stage{stage}_block{i}" for i in range(depth)])
            for i, name in enumerate(self.stages[-1]):
                stride = 2 if i == 0 and stage > 2 else 1
                block = Block(channels, width * 2 ** (stage - 2), stride, layout.bottleneck, spec)
                self.add_module(name, block)
                channels = block.filters
            self.channels.append(channels)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Returns C2 to C5."""
        # On even sides ceil_mode is TensorFlow's SAME: one row and one column at the end.
        x = functional.max_pool2d(self.stem(x), 3, 2, ceil_mode=True)
        outputs = []
        for names in self.stages:
            for name in names:
                x = self.get_submodule(name)(x)
            outputs.append(x)
        return outputs


class Pyramid(nn.Module):
    """`cellml.models.fpn.FPN`."""

    def __init__(self, channels: list[int], filters: int) -> None:
        """Builds the convolutions of P2 to P5."""
        super().__init__()
        for n, below in enumerate(channels, start=2):
            self.add_module(f"lateral{n}", nn.Conv2d(below, filters, 1))
            self.add_module(f"output{n}", nn.Conv2d(filters, filters, 3, padding=1))

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Returns P2 to P6."""
        merged: Tensor | None = None
        levels: list[Tensor] = []
        for n in (5, 4, 3, 2):
            lateral = self.get_submodule(f"lateral{n}")(features[n - 2])
            if merged is not None:
                lateral = lateral + functional.interpolate(merged, scale_factor=2, mode="nearest")
            merged = lateral
            levels.insert(0, self.get_submodule(f"output{n}")(merged))
        return [*levels, levels[-1][:, :, ::2, ::2]]


class Proposals(nn.Module):
    """`cellml.models.mask_rcnn.RegionProposals` on all levels."""

    def __init__(self, spec: MaskRCNNSettings) -> None:
        """Builds the three convolutions."""
        super().__init__()
        anchors = len(spec.anchor_ratios)
        self.shared = nn.Conv2d(spec.fpn_channels, spec.rpn_channels, 3, padding=1)
        self.logits = nn.Conv2d(spec.rpn_channels, 2 * anchors, 1)
        self.deltas = nn.Conv2d(spec.rpn_channels, 4 * anchors, 1)

    def forward(self, levels: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Returns logits (b, n, 2) and deltas (b, n, 4)."""
        found = []
        for x in levels:
            x = functional.relu_(self.shared(x))
            found.append(
                [
                    layer(x).permute(0, 2, 3, 1).reshape(len(x), -1, size)
                    for layer, size in ((self.logits, 2), (self.deltas, 4))
                ]
            )
        logits, deltas = zip(*found, strict=True)
        return torch.cat(logits, 1), torch.cat(deltas, 1)


class Hidden(nn.Module):
    """`cellml.models.mask_rcnn.FullConvNorm`."""

    def __init__(self, channels: int, filters: int, size: int, spec: MaskRCNNSettings) -> None:
        """Builds convolution and norm."""
        super().__init__()
        plain = spec.norm == "group"
        self.conv = nn.Conv2d(channels, filters, size, bias=spec.bias or plain)
        self.norm = nn.Identity() if plain else make_norm(spec.norm, filters)

    def forward(self, x: Tensor) -> Tensor:
        """Applies them."""
        return functional.relu_(self.norm(self.conv(x)))


class Box(nn.Module):
    """`cellml.models.mask_rcnn.BoxHead`."""

    def __init__(self, spec: MaskRCNNSettings) -> None:
        """Builds the layers."""
        super().__init__()
        width = spec.box_channels
        self.hidden1 = Hidden(spec.fpn_channels, width, spec.pool_size, spec)
        self.hidden2 = Hidden(width, width, 1, spec)
        self.logits = nn.Linear(width, spec.n_classes)
        self.deltas = nn.Linear(width, 4 * (1 if spec.class_agnostic else spec.n_classes))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns logits (m, k) and deltas (m, k, 4)."""
        x = self.hidden2(self.hidden1(x)).flatten(1)
        return self.logits(x), self.deltas(x).reshape(len(x), -1, 4)


class Mask(nn.Module):
    """`cellml.models.mask_rcnn.MaskHead`."""

    def __init__(self, spec: MaskRCNNSettings) -> None:
        """Builds the layers."""
        super().__init__()
        width = spec.mask_channels
        self.names = [f"conv{i + 1}" for i in range(spec.mask_convs)]
        for i, name in enumerate(self.names):
            self.add_module(name, ConvNorm(width if i else spec.fpn_channels, width, 3, spec))
        self.deconv = nn.ConvTranspose2d(width, width, 2, 2)
        self.logits = nn.Conv2d(width, 1 if spec.class_agnostic else spec.n_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Returns logits (m, k, 2s, 2s)."""
        for name in self.names:
            x = self.get_submodule(name)(x)
        return self.logits(functional.relu_(self.deconv(x)))


class TorchMaskRCNN(nn.Module):
    """All parts; images (b, 3, h, w)."""

    def __init__(self, spec: MaskRCNNSettings) -> None:
        """Builds the network of the settings."""
        super().__init__()
        self.backbone = Backbone(spec)
        self.fpn = Pyramid(self.backbone.channels, spec.fpn_channels)
        self.rpn, self.box, self.mask = Proposals(spec), Box(spec), Mask(spec)

    def trunk(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and deltas of all anchors."""
        return self.rpn(self.fpn(self.backbone(images)))


def load_weights(model: TorchMaskRCNN, weights: dict[str, np.ndarray]) -> None:
    """Copies flax's variables into the PyTorch network.

    Args:
      model: Network of the same settings.
      weights: By path such as `params/rpn/shared/kernel`.

    Raises:
      ValueError: A parameter or statistic was not given.
    """
    names = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}
    orders = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}
    done = set()
    for path, array in weights.items():
        *module, leaf = path.split("/")[1:]
        layer = model.get_submodule(".".join(module))
        # Keras' transposed convolution is (h, w, out, in), and so the same order serves.
        value = torch.from_numpy(array.transpose(orders[array.ndim]).copy())
        target = getattr(layer, names.get(leaf, leaf))
        if target.shape != value.shape:
            raise ValueError(f"{path}: expected {tuple(target.shape)}, found {tuple(value.shape)}")
        target.data.copy_(value)
        done.add(".".join([*module, names.get(leaf, leaf)]))
    left = {name for name in model.state_dict() if not name.endswith("num_batches_tracked")} - done
    if left:
        raise ValueError(f"not given: {sorted(left)}")
