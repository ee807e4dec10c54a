"""Layers in NumPy by plain loops, float64, one image (h, w, c): oracles for the networks."""

import numpy as np


def conv(
    x: np.ndarray,
    kernel: np.ndarray,
    bias: np.ndarray | None = None,
    *,
    stride: int = 1,
    pad: tuple[int, int] = (0, 0),
) -> np.ndarray:
    """Cross-correlation; `pad` zeros before and after both sides."""
    kernel = np.asarray(kernel, np.float64)
    size = kernel.shape[0]
    x = np.pad(x, (pad, pad, (0, 0)))
    height, width = ((n - size) // stride + 1 for n in x.shape[:2])
    out = np.zeros((height, width, kernel.shape[-1]))
    for i in range(height):
        for j in range(width):
            window = x[i * stride : i * stride + size, j * stride : j * stride + size]
            out[i, j] = np.tensordot(window, kernel, 3)
    return out if bias is None else out + bias


def batch_norm(
    x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, mean: np.ndarray, variance: np.ndarray
) -> np.ndarray:
    """With stored statistics and Keras' epsilon."""
    return (x - mean) / np.sqrt(np.asarray(variance, np.float64) + 1e-3) * gamma + beta


def group_norm(x: np.ndarray, scale: np.ndarray, bias: np.ndarray, size: int) -> np.ndarray:
    """Groups of `size` neighbouring channels; flax's epsilon."""
    out = np.zeros(x.shape)
    for first in range(0, x.shape[-1], size):
        group = x[..., first : first + size]
        out[..., first : first + size] = (group - group.mean()) / np.sqrt(group.var() + 1e-6)
    return out * scale + bias


def relu(x: np.ndarray) -> np.ndarray:
    """Zero below zero."""
    return np.maximum(x, 0)


def max_pool_3x3(x: np.ndarray) -> np.ndarray:
    """3x3, stride 2, padding of TensorFlow's SAME: `total` pixels, the smaller half in front."""
    h, w, c = x.shape
    out = np.zeros(((h + 1) // 2, (w + 1) // 2, c))
    front = [max((-(-n // 2) - 1) * 2 + 3 - n, 0) // 2 for n in (h, w)]
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            top, left = 2 * i - front[0], 2 * j - front[1]
            window = x[max(top, 0) : top + 3, max(left, 0) : left + 3]
            out[i, j] = window.max(axis=(0, 1))
    return out


def upsample(x: np.ndarray) -> np.ndarray:
    """Every pixel twice in both directions."""
    return x.repeat(2, axis=0).repeat(2, axis=1)


def deconv_2x2(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Keras' Conv2DTranspose, 2x2 with stride 2; kernel (2, 2, out, in)."""
    h, w, _ = x.shape
    out = np.zeros((2 * h, 2 * w, kernel.shape[2]))
    for i in range(h):
        for j in range(w):
            for dy in range(2):
                for dx in range(2):
                    out[2 * i + dy, 2 * j + dx] = kernel[dy, dx].astype(np.float64) @ x[i, j]
    return out + bias
