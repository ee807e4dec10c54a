"""Mask R-CNN: backbone and pyramid, region proposals, box head and mask head.

The network only. Anchors, suppression and pooling are in `cellml.ops`; `cellml.tasks.instances`
joins them. Every part is a method, to be called between those steps:

    model = MaskRCNN(make_settings("cellml"))
    pyramid = model.apply(variables, images, method="pyramid")
    logits, deltas = model.apply(variables, pyramid, method="propose")
    logits, deltas = model.apply(variables, pooled, method="classify")
    logits = model.apply(variables, pooled, method="masks")
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from cellml.models.fpn import FPN
from cellml.models.mask_rcnn_settings import STRIDES, MaskRCNNSettings
from cellml.models.resnet import BACKBONES, Conv, ConvNorm, ResNet, make_norm

# Outputs start near 0: half of all anchors are called objects, and no box is moved.
small_normal = nn.initializers.normal(0.01)
tiny_normal = nn.initializers.normal(0.001)


class RegionProposals(nn.Module):
    """Head of the region proposal network, applied to every level.

    Attributes:
      channels: Of the shared 3x3 convolution.
      anchors: Anchors at every cell.
      stride: Cells between anchors.
    """

    channels: int = 512
    anchors: int = 3
    stride: int = 1

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"]
    ) -> tuple[Float[Array, "b n 2"], Float[Array, "b n 4"]]:
        """Logits (background, object) and deltas (dy, dx, log dh, log dw) of a level's anchors.

        Anchors are in the order y, x, ratio.
        """
        # SAME: with a stride of 2 on even sides TensorFlow pads at the end only, and so does this.
        x = Conv(self.channels, (3, 3), (self.stride, self.stride), "SAME", name="shared")(x)
        x = nn.relu(x)
        logits = Conv(2 * self.anchors, (1, 1), kernel_init=small_normal, name="logits")(x)
        deltas = Conv(4 * self.anchors, (1, 1), kernel_init=small_normal, name="deltas")(x)
        return logits.reshape(len(x), -1, 2), deltas.reshape(len(x), -1, 4)


class FullConvNorm(nn.Module):
    """Convolution over the whole of its input, which leaves one pixel; norm; ReLU.

    The parameters are those of a convolution, `conv/kernel` (h, w, c, filters); it is computed as
    the matrix product that it is. Group norm would divide by the spread of a few numbers of one
    region, so that there `norm="group"` means a bias and no norm.

    Attributes:
      filters: Outputs.
      norm: `"frozen"` or `"group"`.
      bias: Whether there is a bias before a norm.
    """

    filters: int
    norm: str = "frozen"
    bias: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "m h w c"]) -> Float[Array, "m f"]:
        """Applies it."""
        plain = self.norm == "group"
        conv = Conv(
            self.filters,
            x.shape[1:3],
            padding="VALID",
            use_bias=self.bias or plain,
            name="conv",
            conv_general_dilated=_full_conv,
        )
        x = conv(x)[:, 0, 0]
        if not plain:
            x = make_norm(self.norm, self.filters, name="norm")(x)
        return nn.relu(x)


def _full_conv(lhs: Array, rhs: Array, *_: Any, **__: Any) -> Array:
    """A convolution whose kernel is as large as the image."""
    y = lhs.reshape(len(lhs), -1) @ rhs.reshape(-1, rhs.shape[-1])
    return y[:, None, None]


class BoxHead(nn.Module):
    """Class and box of every region.

    Attributes:
      channels: Width of the two hidden layers.
      n_classes: With background.
      n_boxes: Boxes a region, one for each class or a single one.
      norm: See `FullConvNorm`.
      bias: See `FullConvNorm`.
    """

    channels: int
    n_classes: int
    n_boxes: int
    norm: str = "frozen"
    bias: bool = True

    @nn.compact
    def __call__(
        self, x: Float[Array, "m s s c"]
    ) -> tuple[Float[Array, "m k"], Float[Array, "m k2 4"]]:
        """Logits of the classes and deltas of the boxes."""
        x = FullConvNorm(self.channels, self.norm, self.bias, name="hidden1")(x)
        x = x[:, None, None, :]
        x = FullConvNorm(self.channels, self.norm, self.bias, name="hidden2")(x)
        logits = nn.Dense(self.n_classes, kernel_init=small_normal, name="logits")(x)
        deltas = nn.Dense(4 * self.n_boxes, kernel_init=tiny_normal, name="deltas")(x)
        return logits, deltas.reshape(len(x), self.n_boxes, 4)


class MaskHead(nn.Module):
    """Mask of every region, at twice the resolution of what was pooled.

    Attributes:
      channels: Of every convolution.
      convs: 3x3 convolutions.
      n_masks: Masks a region, one for each class or a single one.
      norm: See `cellml.models.resnet.ConvNorm`.
      bias: Likewise.
    """

    channels: int
    convs: int
    n_masks: int
    norm: str = "frozen"
    bias: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "m s s c"]) -> Float[Array, "m s2 s2 k"]:
        """Logits."""
        for i in range(self.convs):
            name = f"conv{i + 1}"
            x = ConvNorm(self.channels, 3, norm=self.norm, bias=self.bias, name=name)(x)
        m, h, w, _ = x.shape
        x = nn.relu(_Deconv(self.channels, name="deconv")(x))
        x = _BlockDense(self.n_masks, name="logits")(x)
        # Only here, where channels are few, are the pixels of a block put in their places.
        x = x.reshape(m, h, w, 2, 2, self.n_masks).transpose(0, 1, 3, 2, 4, 5)
        return x.reshape(m, 2 * h, 2 * w, self.n_masks)


class _Deconv(nn.Module):
    """Transposed convolution, 2x2 with stride 2; its kernel is Keras' (h, w, filters, c).

    One row for every input pixel, and in it the 2x2 output pixels, each with its filters: pixels
    of a block do not overlap, and so this is a matrix product. (The gradient of
    `flax.linen.ConvTranspose` takes 20 times as long on CPU.)
    """

    filters: int

    @nn.compact
    def __call__(self, x: Float[Array, "m h w c"]) -> Float[Array, "n f4"]:
        c, filters = x.shape[-1], self.filters
        init = nn.initializers.variance_scaling(
            2.0, "fan_in", "truncated_normal", in_axis=-1, out_axis=-2, batch_axis=(0, 1)
        )
        kernel = self.param("kernel", init, (2, 2, filters, c))
        bias = self.param("bias", nn.initializers.zeros_init(), (filters,))
        y = x.reshape(-1, c) @ kernel.transpose(3, 0, 1, 2).reshape(c, 4 * filters)
        return y + jnp.tile(bias, 4)[None]


class _BlockDense(nn.Module):
    """1x1 convolution of the four pixels that `_Deconv` leaves in a row; kernel (1, 1, c, filters).

    One product with the kernel four times on a diagonal is faster than four times as many rows.
    """

    filters: int

    @nn.compact
    def __call__(self, x: Float[Array, "n c4"]) -> Float[Array, "n f4"]:
        c, filters = x.shape[-1] // 4, self.filters
        kernel = self.param("kernel", small_normal, (1, 1, c, filters))
        bias = self.param("bias", nn.initializers.zeros_init(), (filters,))
        diagonal = jnp.kron(jnp.eye(4, dtype=kernel.dtype), kernel[0, 0])
        return x @ diagonal + jnp.tile(bias, 4)[None]


class MaskRCNN(nn.Module):
    """All parts of the network with their parameters.

    Images come with the mean subtracted and scaled as the settings say (`mean_pixel`,
    `pixel_scale`): that is the caller's. Their height and width are multiples of 64.

    Attributes:
      settings: See `MaskRCNNSettings`.
    Source: He et al. 2017, ICCV; layers as in matterport/Mask_RCNN.
    """

    settings: MaskRCNNSettings

    def setup(self) -> None:
        """Declares the parts; parameters are under `backbone`, `fpn`, `rpn`, `box`, `mask`."""
        s = self.settings
        if s.backbone not in BACKBONES:
            raise ValueError(f"unknown backbone {s.backbone!r}; known: {', '.join(BACKBONES)}")
        per_class = 1 if s.class_agnostic else s.n_classes
        layout = BACKBONES[s.backbone]
        self.backbone = ResNet(layout, s.backbone_width, s.norm, s.bias)
        self.fpn = FPN(s.fpn_channels)
        self.rpn = RegionProposals(s.rpn_channels, len(s.anchor_ratios), s.anchor_stride)
        self.box = BoxHead(s.box_channels, s.n_classes, per_class, s.norm, s.bias)
        self.mask = MaskHead(s.mask_channels, s.mask_convs, per_class, s.norm, s.bias)

    def pyramid(self, images: Float[Array, "b h w c"]) -> tuple[Float[Array, "b _h _w f"], ...]:
        """Features at strides 4, 8, 16, 32, 64: P2 to P6.

        Raises:
          ValueError: Height or width is not a multiple of 64 (at trace time).
        """
        if images.shape[1] % STRIDES[-1] or images.shape[2] % STRIDES[-1]:
            raise ValueError(
                f"MaskRCNN: expected height and width in multiples of {STRIDES[-1]}, "
                f"found {images.shape[1]} x {images.shape[2]}"
            )
        return self.fpn(self.backbone(images))

    def propose(
        self, pyramid: Sequence[Float[Array, "b _h _w f"]]
    ) -> tuple[Float[Array, "b n 2"], Float[Array, "b n 4"]]:
        """Scores and moves every anchor.

        Args:
          pyramid: P2 to P6.
        Returns:
          Logits (background, object) and deltas (dy, dx, log dh, log dw), unscaled, of the
          anchors in the order level, y, x, ratio.
        """
        logits, deltas = zip(*(self.rpn(level) for level in pyramid), strict=True)
        return jnp.concatenate(logits, axis=1), jnp.concatenate(deltas, axis=1)

    def classify(
        self, pooled: Float[Array, "m s s c"]
    ) -> tuple[Float[Array, "m k"], Float[Array, "m k2 4"]]:
        """Class and box of every region.

        Args:
          pooled: Features of the regions, of side `pool_size`.
        Returns:
          Logits of the classes, 0 is background; deltas in units of `box_std`, one box for every
          class, or one alone in a class-agnostic network.
        """
        return self.box(pooled)

    def masks(self, pooled: Float[Array, "m s s c"]) -> Float[Array, "m s2 s2 k"]:
        """Mask logits of every region, one mask for every class or one alone.

        Args:
          pooled: Features of the regions, of side `mask_pool_size`.
        Returns:
          Twice the side of `pooled`.
        """
        return self.mask(pooled)

    def __call__(self, images: Float[Array, "b h w c"]) -> tuple[Float[Array, "..."], ...]:
        """Runs every part once, for `init`; the regions are one, empty.

        Returns:
          The outputs of `propose`, `classify` and `masks`.
        """
        s = self.settings
        levels = self.pyramid(images)
        box = jnp.zeros((1, s.pool_size, s.pool_size, s.fpn_channels), images.dtype)
        mask = jnp.zeros((1, s.mask_pool_size, s.mask_pool_size, s.fpn_channels), images.dtype)
        return (*self.propose(levels), *self.classify(box), self.masks(mask))
