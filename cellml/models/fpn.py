"""Feature pyramid network: the levels P2 to P6 from the outputs of a backbone."""

import functools

import flax.linen as nn
from jaxtyping import Array, Float

from cellml.models.resnet import Conv
from cellml.ops.conv import upsample_nearest

lecun_normal = nn.initializers.lecun_normal()


class FPN(nn.Module):
    """Top-down pathway with nearest up-sampling and lateral 1x1 convolutions.

    Nothing here is followed by a ReLU or a norm. Parameters are called `lateral2` to `lateral5`
    and `output2` to `output5`.

    Attributes:
      channels: Of every level.
    Source: Lin et al. 2017, CVPR; P6 as in matterport/Mask_RCNN.
    """

    channels: int = 256

    @nn.compact
    def __call__(
        self, features: tuple[Float[Array, "b _h _w _c"], ...]
    ) -> tuple[Float[Array, "b _h _w f"], ...]:
        """Returns P2 to P6; P6 is every second pixel of P5.

        Args:
          features: C2 to C5; height and width of each are twice those of the next.
        """
        conv = functools.partial(Conv, self.channels, kernel_init=lecun_normal)
        merged, levels = None, []
        for level, feature in reversed(list(enumerate(features, start=2))):
            lateral = conv((1, 1), name=f"lateral{level}")(feature)
            merged = lateral if merged is None else lateral + upsample_nearest(merged)
            levels.append(conv((3, 3), name=f"output{level}")(merged))
        levels.reverse()
        return (*levels, levels[-1][:, ::2, ::2])
