"""Depthwise convolution in a form that XLA compiles to fast code on CPU, with its gradients.

XLA's CPU backend runs a convolution with as many groups as channels as scalar loops; PyTorch is
10 to 100 times faster. Here the CPU gets a sum of shifted multiply-adds, one a tap of the kernel,
which XLA fuses into one vectorised loop over pixels and channels. Its two gradients have the same
shape: with respect to the image a sum of shifted multiply-adds for each parity of the pixel, with
respect to the kernel one pass that sums all taps at once. Other platforms call `lax`.

Kernels are (h, w, 1, c), images NHWC.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from cellml.ops.channels import sum_pixels

Pads = tuple[tuple[int, int], tuple[int, int]]

PADDINGS = ("SAME", "TORCH")
IMAGES = 4
"""Images at a time in the gradients on CPU: they stay in the cache."""


def same_padding(length: int, size: int, stride: int) -> tuple[int, int]:
    """Zeros before and after one axis that TensorFlow's SAME adds: the odd one at the end.

    Args:
      length: Pixels of the axis.
      size: Taps of the kernel.
      stride: Pixels between outputs.
    Returns:
      (before, after), so that there are `ceil(length / stride)` outputs.
    """
    total = max((-(-length // stride) - 1) * stride + size - length, 0)
    return total // 2, total - total // 2


def resolve_padding(
    shape: tuple[int, int], size: tuple[int, int], *, stride: int, padding: str
) -> Pads:
    """Zeros around an image.

    Args:
      shape: Height and width of the image.
      size: Height and width of the kernel.
      stride: Pixels between outputs.
      padding: "SAME" (TensorFlow's, see `same_padding`) or "TORCH" (`(size - 1) // 2` on every
        side). They differ for even lengths and stride 2, by one pixel.
    Returns:
      ((top, bottom), (left, right)).
    Raises:
      ValueError: Another padding.
    """
    if padding not in PADDINGS:
        raise ValueError(f"unknown padding {padding!r}; known: {', '.join(PADDINGS)}")
    if padding == "TORCH":
        rows, columns = ((k - 1) // 2 for k in size)
        return (rows, rows), (columns, columns)
    rows, columns = (same_padding(n, k, stride) for n, k in zip(shape, size, strict=True))
    return rows, columns


def depthwise_conv(
    x: Float[Array, "b h w c"],
    kernel: Float[Array, "kh kw 1 c"],
    *,
    stride: int = 1,
    padding: str = "SAME",
) -> Float[Array, "b h2 w2 c"]:
    """Convolves every channel with a kernel of its own.

    Args:
      x: Images.
      kernel: One kernel a channel, of the dtype of `x`.
      stride: Pixels between outputs, the same along both axes.
      padding: See `resolve_padding`.
    Returns:
      With SAME, `ceil(h / stride)` x `ceil(w / stride)` pixels. Reverse-mode gradients only.
    Raises:
      ValueError: `stride` is below 1, the padding is unknown, or the image is smaller than the
        kernel in spite of the padding (at trace time).
    """
    if stride < 1:
        raise ValueError(f"depthwise_conv: expected a stride of at least 1, found {stride}")
    rows, columns = kernel.shape[:2]
    pads = resolve_padding(
        (x.shape[1], x.shape[2]), (rows, columns), stride=stride, padding=padding
    )
    padded = [n + sum(p) for n, p in zip(x.shape[1:3], pads, strict=True)]
    if padded[0] < rows or padded[1] < columns:
        raise ValueError(
            f"depthwise_conv: expected at least {rows} x {columns} pixels after padding, "
            f"found {padded[0]} x {padded[1]}"
        )
    return _depthwise(x, kernel, stride, pads)


def _by_lax(x: Array, kernel: Array, stride: int, pads: Pads) -> Array:
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        pads,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1],
    )


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _depthwise(x: Array, kernel: Array, stride: int, pads: Pads) -> Array:
    return lax.platform_dependent(
        x,
        kernel,
        cpu=partial(_by_taps, stride=stride, pads=pads),
        default=partial(_by_lax, stride=stride, pads=pads),
    )


def _forward(x: Array, kernel: Array, stride: int, pads: Pads) -> tuple[Array, tuple[Array, Array]]:
    return _depthwise(x, kernel, stride, pads), (x, kernel)


def _backward(
    stride: int, pads: Pads, residuals: tuple[Array, Array], grad: Array
) -> tuple[Array, Array]:
    def by_lax(x: Array, kernel: Array, grad: Array) -> tuple[Array, Array]:
        return jax.vjp(lambda x, kernel: _by_lax(x, kernel, stride, pads), x, kernel)[1](grad)

    def by_taps(x: Array, kernel: Array, grad: Array) -> tuple[Array, Array]:
        # A few images at a time: a loop keeps XLA from moving this into what uses it, and into
        # the taps what makes `grad`, so that both would be computed several times.
        few = max(n for n in range(1, IMAGES + 1) if x.shape[0] % n == 0)
        size = (kernel.shape[0], kernel.shape[1])

        def step(of_kernel: Array, images: tuple[Array, Array]) -> tuple[Array, Array]:
            x, grad = images
            of_x = _image_gradient(grad, kernel, (x.shape[1], x.shape[2]), stride, pads)
            return of_kernel + _kernel_gradient(x, grad, size, stride, pads), of_x

        def in_chunks(a: Array) -> Array:
            return a.reshape(-1, few, *a.shape[1:])

        chunks = in_chunks(x), in_chunks(grad)
        of_kernel, of_x = lax.scan(step, jnp.zeros(kernel.shape, jnp.float32), chunks)
        return of_x.reshape(x.shape), of_kernel.astype(kernel.dtype)

    return lax.platform_dependent(*residuals, grad, cpu=by_taps, default=by_lax)


_depthwise.defvjp(_forward, _backward)


def _pad(x: Array, pads: Pads) -> Array:
    """Pads with zeros in memory: inside the loop over taps, every read would be a comparison."""
    if any(n for pair in pads for n in pair):
        x = lax.pad(
            x, jnp.zeros((), x.dtype), ((0, 0, 0), *((a, b, 0) for a, b in pads), (0, 0, 0))
        )
    return lax.optimization_barrier(x)


def _shifted(x: Array, row: int, column: int, shape: tuple[int, int], stride: int) -> Array:
    """The pixel of the padded image that each output sees through one tap."""
    height, width = shape
    return x[
        :,
        row : row + (height - 1) * stride + 1 : stride,
        column : column + (width - 1) * stride + 1 : stride,
    ]


def _by_taps(x: Array, kernel: Array, stride: int, pads: Pads) -> Array:
    rows, columns = kernel.shape[:2]
    x = _pad(x, pads)
    shape = (x.shape[1] - rows) // stride + 1, (x.shape[2] - columns) // stride + 1
    terms = [
        _shifted(x, i, j, shape, stride) * kernel[None, None, i, j]
        for i in range(rows)
        for j in range(columns)
    ]
    return sum(terms[1:], terms[0])


def _image_gradient(
    grad: Array, kernel: Array, shape: tuple[int, int], stride: int, pads: Pads
) -> Array:
    """Gradient with respect to the image.

    Pixel q of the padded image got tap t of output o where q = stride o + t. So the pixels of one
    parity q % stride see every stride-th tap, and are a convolution of `grad` with stride 1; the
    parities are computed apart and interleaved.
    """
    rows, columns = kernel.shape[:2]
    (top, bottom), (left, right) = pads
    # Cells of `stride` x `stride` pixels that cover the padded image
    height = -(-(shape[0] + top + bottom) // stride)
    width = -(-(shape[1] + left + right) // stride)
    before = (rows - 1) // stride, (columns - 1) // stride
    after = height - grad.shape[1], width - grad.shape[2]
    grad = _pad(grad, ((before[0], after[0]), (before[1], after[1])))
    parities = []
    for p in range(stride):
        for q in range(stride):
            terms = [
                _shifted(grad, before[0] - i // stride, before[1] - j // stride, (height, width), 1)
                * kernel[None, None, i, j]
                for i in range(p, rows, stride)
                for j in range(q, columns, stride)
            ]
            zeros = jnp.zeros((grad.shape[0], height, width, grad.shape[3]), grad.dtype)
            parities.append(sum(terms[1:], terms[0]) if terms else zeros)
    image = parities[0]
    if stride > 1:
        b, _, _, c = grad.shape
        image = jnp.stack(parities).reshape(stride, stride, b, height, width, c)
        image = image.transpose(2, 3, 0, 4, 1, 5).reshape(b, height * stride, width * stride, c)
    return image[:, top : top + shape[0], left : left + shape[1]]


def _kernel_gradient(
    x: Array, grad: Array, size: tuple[int, int], stride: int, pads: Pads
) -> Array:
    """Gradient with respect to the kernel: one pass that sums up all taps."""
    x, grad = _pad(x, pads), lax.optimization_barrier(grad)
    shape = (grad.shape[1], grad.shape[2])
    products = [
        _shifted(x, i, j, shape, stride) * grad for i in range(size[0]) for j in range(size[1])
    ]
    sums = sum_pixels(products)
    return jnp.stack(sums).reshape(*size, 1, x.shape[-1])
