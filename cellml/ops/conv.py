"""Convolution, also after up-sampling, and pooling in forms that XLA compiles to fast code.

The results are those of the plain formulations (to rounding), and so are the gradients (reverse
mode only). What differs is the work:

- The gradient of a convolution with respect to its kernel makes XLA's CPU backend transpose the
  image to (c, h, w, b), pixel by pixel; at high resolution that costs more than the products.
  `conv_same` uses one matrix product of shifted copies instead.

- The gradient of `lax.reduce_window` with max is `select_and_scatter`, a serial loop on CPU.
  `max_pool_2x2` compares four slices instead.
- A convolution after nearest up-sampling sees every pixel several times. Adding up the kernel
  taps which fall on the same pixel turns a 3x3 convolution of the large image into a 2x2
  convolution of the small one, with four outputs a pixel: 16 products instead of 36.
- A convolution of concatenated channels is a sum of convolutions: nothing needs to be copied.

Kernels are HWIO, images NHWC, padding is SAME and the stride 1.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

# Along one axis, [s, p, t]: which taps t of the kernel add up to tap s of the kernel for output p
# of a pair. Size 3: outputs 2r-1 and 2r both come from the pixels r-1 and r, so that the pairs are
# shifted by one. Size 2 (SAME pads at the end): outputs 2r and 2r+1 come from pixels r and r+1.
# Size 1: both come from pixel r.
_TAPS = {
    1: np.array([[[1], [1]]]),
    2: np.array([[[1, 1], [1, 0]], [[0, 0], [0, 1]]]),
    3: np.array([[[1, 1, 0], [1, 0, 0]], [[0, 0, 1], [0, 1, 1]]]),
}
_PADDING = {2: (0, 1), 3: (1, 1)}

_LAYOUT = ("NHWC", "HWIO", "NHWC")
Padding = tuple[tuple[int, int], tuple[int, int]]


def conv_same(
    x: Float[Array, "b h w c"], kernel: Float[Array, "k1 k2 c f"]
) -> Float[Array, "b h w f"]:
    """Convolution with stride 1 and SAME padding, with a fast gradient on CPU."""
    rows, columns = kernel.shape[:2]
    return _conv(x, kernel, (((rows - 1) // 2, rows // 2), ((columns - 1) // 2, columns // 2)))


def conv_general_dilated(
    lhs: Array,
    rhs: Array,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    precision: Any = None,
    **options: Any,
) -> Array:
    """`conv_same` for `flax.linen.Conv(conv_general_dilated=...)`; the parameters stay as they are.

    Whatever `conv_same` does not cover (strides, dilation, groups, other padding) goes to lax.

    Args:
      lhs: Images; NHWC for `conv_same`.
      rhs: Kernel; HWIO for `conv_same`.
      window_strides: As the rest, see `jax.lax.conv_general_dilated`.
      padding: "SAME" for `conv_same`.
      lhs_dilation: See there.
      rhs_dilation: See there.
      dimension_numbers: See there.
      feature_group_count: See there.
      precision: None for `conv_same`.
      **options: None for `conv_same`.
    Returns:
      The convolution.
    """
    strides = [*window_strides, *(lhs_dilation or ()), *(rhs_dilation or ()), feature_group_count]
    plain = padding == "SAME" and lhs.ndim == 4 and all(n == 1 for n in strides)
    layout = lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers)
    plain = plain and all(option is None for option in (precision, *options.values()))
    if plain and layout == lax.conv_dimension_numbers(lhs.shape, rhs.shape, _LAYOUT):
        return conv_same(lhs, rhs)
    return lax.conv_general_dilated(
        lhs,
        rhs,
        window_strides,
        padding,
        lhs_dilation=lhs_dilation,
        rhs_dilation=rhs_dilation,
        dimension_numbers=dimension_numbers,
        feature_group_count=feature_group_count,
        precision=precision,
        **options,
    )


def _lax_conv(x: Array, kernel: Array, padding: Padding) -> Array:
    return lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=_LAYOUT)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _conv(x: Array, kernel: Array, padding: Padding) -> Array:
    """Convolution with stride 1; `padding` is ((top, bottom), (left, right))."""
    return _lax_conv(x, kernel, padding)


def _conv_forward(x: Array, kernel: Array, padding: Padding) -> tuple[Array, tuple[Array, Array]]:
    return _lax_conv(x, kernel, padding), (x, kernel)


def _conv_backward(
    padding: Padding, residuals: tuple[Array, Array], grad: Array
) -> tuple[Array, Array]:
    x, kernel = residuals
    (grad_x,) = jax.vjp(lambda x: _lax_conv(x, kernel, padding), x)[1](grad)

    def by_lax(x: Array, grad: Array) -> Array:
        return jax.vjp(lambda kernel: _lax_conv(x, kernel, padding), kernel)[1](grad)[0]

    def by_product(x: Array, grad: Array) -> Array:
        return _kernel_gradient(x, grad, padding)

    return grad_x, lax.platform_dependent(x, grad, cpu=by_product, default=by_lax)


_conv.defvjp(_conv_forward, _conv_backward)


def _kernel_gradient(x: Array, grad: Array, padding: Padding) -> Array:
    """Gradient of `_conv` with respect to its kernel, as one matrix product.

    With x padded and both images written as lists of pixels of the same rows (of width w),
        kernel[dy, dx] = sum_p x[p + dy w + dx] grad[p] = sum_q x[q + dx] grad[q - dy w].
    So the k2 copies of x shifted by dx, side by side, times the k1 copies of grad shifted by dy
    give all taps at once: (pixels, k2 c)^T (pixels, k1 f). The pixels that do not belong to the
    sum meet a zero of the padded grad.
    """
    c, f = x.shape[-1], grad.shape[-1]
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    b, h, w, _ = x.shape
    rows, columns = h - grad.shape[1] + 1, w - grad.shape[2] + 1
    pixels = b * h * w
    grad = jnp.pad(grad, ((0, 0), (0, rows - 1), (0, columns - 1), (0, 0))).reshape(pixels, f)
    x = jnp.pad(x.reshape(pixels, c), ((0, columns - 1), (0, 0)))
    grad = jnp.pad(grad, (((rows - 1) * w, 0), (0, 0)))
    xs = [x[dx : dx + pixels] for dx in range(columns)]
    grads = [grad[(rows - 1 - dy) * w :][:pixels] for dy in range(rows)]
    product = lax.dot_general(
        jnp.concatenate(xs, axis=1), jnp.concatenate(grads, axis=1), (((0,), (0,)), ((), ()))
    )
    return product.reshape(columns, c, rows, f).transpose(2, 0, 1, 3)


def upsample_nearest(x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
    """Doubles height and width by repeating pixels."""
    b, h, w, c = x.shape
    x = jnp.broadcast_to(x[:, :, None, :, None, :], (b, h, 2, w, 2, c))
    return x.reshape(b, 2 * h, 2 * w, c)


def conv_upsampled(
    x: Float[Array, "b h w c"], kernel: Float[Array, "k1 k2 c f"]
) -> Float[Array, "b h2 w2 f"]:
    """`conv_same(upsample_nearest(x), kernel)`, computed on the small image.

    Args:
      x: Images, any height and width.
      kernel: Square, of size 1, 2 or 3.
    Returns:
      Twice the height and width of `x`.
    Raises:
      ValueError: The kernel's size is another one (at trace time).
    Source: Shi et al. 2016, CVPR (sub-pixel convolution); the sums of taps follow from
      up[2i + p + t] = x[i + (p + t) // 2].
    """
    size, filters = kernel.shape[0], kernel.shape[-1]
    if kernel.shape[1] != size or size not in _TAPS:
        raise ValueError(
            f"conv_upsampled: expected a kernel of 1x1, 2x2 or 3x3, found {kernel.shape[:2]}"
        )
    if size == 1:
        return upsample_nearest(conv_same(x, kernel))
    b, c = x.shape[0], x.shape[-1]
    taps = jnp.asarray(_TAPS[size], kernel.dtype)
    # [sy, sx, c, (py, px, f)]; exact sums: this product is tiny
    merged = jnp.einsum(
        "apt,bqu,tucf->abcpqf", taps, taps, kernel, precision=lax.Precision.HIGHEST
    ).reshape(2, 2, c, 4 * filters)
    y: Array = _conv(x, merged, (_PADDING[size], _PADDING[size]))
    rows, columns = y.shape[1:3]
    y = y.reshape(b, rows, columns, 2, 2, filters).transpose(0, 1, 3, 2, 4, 5)
    y = y.reshape(b, 2 * rows, 2 * columns, filters)
    return y[:, 1:-1, 1:-1] if size == 3 else y


def conv_merged(
    skip: Float[Array, "b h2 w2 c2"],
    x: Float[Array, "b h w c"],
    kernel: Float[Array, "k1 k2 c3 f"],
) -> Float[Array, "b h2 w2 f"]:
    """Convolution of `concatenate([skip, upsample_nearest(x)])`, without making either.

    This is the first convolution of a U-Net's decoder level. With twice as many channels in `x`
    as in `skip` it needs 63 % of the products of the plain formulation (3x3 kernel).

    Args:
      skip: The encoder's output, twice as high and wide as `x`.
      x: The level below.
      kernel: Takes the channels of `skip`, then those of `x`; of size 1, 2 or 3.
    Returns:
      Height and width of `skip`.
    Raises:
      ValueError: Shapes do not fit (at trace time).
    """
    channels = skip.shape[-1]
    expected = (x.shape[0], 2 * x.shape[1], 2 * x.shape[2])
    if skip.shape[:3] != expected:
        raise ValueError(f"conv_merged: expected skip of {expected}, found {skip.shape[:3]}")
    if kernel.shape[2] != channels + x.shape[-1]:
        raise ValueError(
            f"conv_merged: expected a kernel for {channels} + {x.shape[-1]} channels, "
            f"found {kernel.shape[2]}"
        )
    return conv_same(skip, kernel[:, :, :channels]) + conv_upsampled(x, kernel[:, :, channels:])


@jax.custom_vjp
def max_pool_2x2(x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
    """Maximum over blocks of 2x2 pixels, as `flax.linen.max_pool(x, (2, 2), (2, 2))`.

    The gradient goes to the first of equal maxima in row-major order, as in lax and PyTorch.
    Reverse mode only. A last odd row or column is left out.

    Args:
      x: Images of at least 2x2 pixels.
    Returns:
      Images of half the height and width.
    """
    rows = _blocks(x)
    y = jnp.maximum(rows[:, :, 0], rows[:, :, 1])
    return jnp.maximum(y[:, :, :, 0], y[:, :, :, 1])


def _blocks(x: Array) -> Array:
    """Reshapes (b, h, w, c) to (b, h//2, 2, w//2, 2, c), without a last odd row or column."""
    b, h, w, c = x.shape
    return x[:, : h // 2 * 2, : w // 2 * 2].reshape(b, h // 2, 2, w // 2, 2, c)


def _max_pool_forward(x: Array) -> tuple[Array, tuple[Array, Array]]:
    y = max_pool_2x2(x)
    return y, (x, y)


def _max_pool_backward(residuals: tuple[Array, Array], grad: Array) -> tuple[Array]:
    x, y = residuals
    blocks = _blocks(x)
    place = jnp.where(blocks[:, :, 1, :, 0] == y, 2, 3)
    place = jnp.where(blocks[:, :, 0, :, 1] == y, 1, place)
    place = jnp.where(blocks[:, :, 0, :, 0] == y, 0, place)
    each = jnp.arange(4).reshape(1, 1, 2, 1, 2, 1)
    chosen = place[:, :, None, :, None, :] == each
    out = jnp.where(chosen, grad[:, :, None, :, None, :], jnp.zeros((), grad.dtype))
    b, h, w, c = x.shape
    out = out.reshape(b, h // 2 * 2, w // 2 * 2, c)
    if h % 2 or w % 2:
        out = jnp.pad(out, ((0, 0), (0, h % 2), (0, w % 2), (0, 0)))
    return (out,)


max_pool_2x2.defvjp(_max_pool_forward, _max_pool_backward)
