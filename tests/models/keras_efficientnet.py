"""EfficientNet-B0 in NumPy, float64, from tensors with Keras' names: an oracle for model and files.

The table of layers is written out as the paper and Keras' summary have it, apart from our code.
"""

from typing import NamedTuple

import numpy as np

from tests.models import numpy_layers as layers

Tensors = dict[str, np.ndarray]


class Row(NamedTuple):
    """A block: name, channels of its input, inside, inside squeeze-excite and of its output."""

    name: str
    kernel: int
    stride: int
    channels: int
    inner: int
    squeezed: int
    filters: int


# Columns 3 to 6 as in keras.applications.EfficientNetB0().summary()
B0 = (
    Row("block1a", 3, 1, 32, 32, 8, 16),
    Row("block2a", 3, 2, 16, 96, 4, 24),
    Row("block2b", 3, 1, 24, 144, 6, 24),
    Row("block3a", 5, 2, 24, 144, 6, 40),
    Row("block3b", 5, 1, 40, 240, 10, 40),
    Row("block4a", 3, 2, 40, 240, 10, 80),
    Row("block4b", 3, 1, 80, 480, 20, 80),
    Row("block4c", 3, 1, 80, 480, 20, 80),
    Row("block5a", 5, 1, 80, 480, 20, 112),
    Row("block5b", 5, 1, 112, 672, 28, 112),
    Row("block5c", 5, 1, 112, 672, 28, 112),
    Row("block6a", 5, 2, 112, 672, 28, 192),
    Row("block6b", 5, 1, 192, 1152, 48, 192),
    Row("block6c", 5, 1, 192, 1152, 48, 192),
    Row("block6d", 5, 1, 192, 1152, 48, 192),
    Row("block7a", 3, 1, 192, 1152, 48, 320),
)


def tensor_shapes(channels: int = 3, classes: int = 7) -> dict[str, tuple[int, ...]]:
    """Names and shapes of Keras 2: `stem_conv/kernel`, `block1a_dwconv/depthwise_kernel`."""
    shapes: dict[str, tuple[int, ...]] = {"stem_conv/kernel": (3, 3, channels, 32)}

    def norm(name: str, size: int) -> None:
        for tensor in ("gamma", "beta", "moving_mean", "moving_variance"):
            shapes[f"{name}/{tensor}"] = (size,)

    norm("stem_bn", 32)
    for row in B0:
        if row.name != "block1a":
            shapes[f"{row.name}_expand_conv/kernel"] = (1, 1, row.channels, row.inner)
            norm(f"{row.name}_expand_bn", row.inner)
        shapes[f"{row.name}_dwconv/depthwise_kernel"] = (row.kernel, row.kernel, row.inner, 1)
        norm(f"{row.name}_bn", row.inner)
        shapes[f"{row.name}_se_reduce/kernel"] = (1, 1, row.inner, row.squeezed)
        shapes[f"{row.name}_se_reduce/bias"] = (row.squeezed,)
        shapes[f"{row.name}_se_expand/kernel"] = (1, 1, row.squeezed, row.inner)
        shapes[f"{row.name}_se_expand/bias"] = (row.inner,)
        shapes[f"{row.name}_project_conv/kernel"] = (1, 1, row.inner, row.filters)
        norm(f"{row.name}_project_bn", row.filters)
    shapes["top_conv/kernel"] = (1, 1, 320, 1280)
    norm("top_bn", 1280)
    shapes["probs/kernel"], shapes["probs/bias"] = (1280, classes), (classes,)
    return shapes


def random_tensors(channels: int = 3, classes: int = 7, seed: int = 3) -> Tensors:
    """Weights with which every layer's output is of the order of 1 and none is idle."""
    rng = np.random.default_rng(seed)
    tensors = {}
    for name, shape in tensor_shapes(channels, classes).items():
        tensor = name.split("/")[1]
        if tensor in ("gamma", "moving_variance"):
            values = rng.uniform(0.5, 1.5, shape)
        else:
            values = rng.standard_normal(shape)
            if tensor == "kernel":
                values *= np.sqrt(2 / np.prod(shape[:-1]))
            elif tensor == "depthwise_kernel":
                values *= np.sqrt(2) / shape[0]
            else:
                values *= 0.1
        tensors[name] = values.astype(np.float32)
    return tensors


def sigmoid(x: np.ndarray) -> np.ndarray:
    """The logistic function."""
    return 1 / (1 + np.exp(-x))


def swish(x: np.ndarray) -> np.ndarray:
    """SiLU."""
    return x * sigmoid(x)


class KerasEfficientNet:
    """Evaluation of one image (h, w, c)."""

    def __init__(self, tensors: Tensors, *, torch_padding: bool = False, epsilon: float = 1e-3):
        """`torch_padding`: (k - 1) // 2 zeros on each side instead of TensorFlow's SAME."""
        self._tensors = {name: np.asarray(a, np.float64) for name, a in tensors.items()}
        self._torch_padding, self._epsilon = torch_padding, epsilon

    def _norm(self, x: np.ndarray, name: str) -> np.ndarray:
        gamma, beta, mean, variance = (
            self._tensors[f"{name}/{tensor}"]
            for tensor in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        # numpy_layers adds Keras' epsilon
        variance = variance + self._epsilon - 1e-3
        return layers.batch_norm(x, gamma, beta, mean, variance)

    def _padded(self, x: np.ndarray, size: int, stride: int) -> np.ndarray:
        if self._torch_padding:
            pads = [((size - 1) // 2,) * 2] * 2
        else:
            totals = [max(size - (n % stride or stride), 0) for n in x.shape[:2]]
            pads = [(total // 2, total - total // 2) for total in totals]
        return np.pad(x, (*pads, (0, 0)))

    def _windows(self, x: np.ndarray, size: int, stride: int) -> np.ndarray:
        """The pixels (h, w, c, size, size) that each output sees."""
        x = self._padded(x, size, stride)
        windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), (0, 1))
        return windows[::stride, ::stride]

    def activation(self, x: np.ndarray, row: Row) -> np.ndarray:
        """A block up to the swish after the depthwise convolution."""
        if row.name != "block1a":
            x = x @ self._tensors[f"{row.name}_expand_conv/kernel"][0, 0]
            x = swish(self._norm(x, f"{row.name}_expand_bn"))
        kernel = self._tensors[f"{row.name}_dwconv/depthwise_kernel"][..., 0]
        windows = self._windows(x, row.kernel, row.stride)
        return swish(self._norm(np.einsum("hwcpq,pqc->hwc", windows, kernel), f"{row.name}_bn"))

    def block(self, x: np.ndarray, row: Row) -> np.ndarray:
        """A whole block."""
        y = self.activation(x, row)
        gate = y.mean((0, 1))
        for name, function in (("se_reduce", swish), ("se_expand", sigmoid)):
            kernel = self._tensors[f"{row.name}_{name}/kernel"][0, 0]
            gate = function(gate @ kernel + self._tensors[f"{row.name}_{name}/bias"])
        y = (y * gate) @ self._tensors[f"{row.name}_project_conv/kernel"][0, 0]
        y = self._norm(y, f"{row.name}_project_bn")
        return x + y if x.shape == y.shape else y

    def __call__(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """Outputs by layer: each block, `block6a_activation` and `logits`."""
        windows = self._windows(image.astype(np.float64), 3, 2)
        x = np.einsum("hwcpq,pqcf->hwf", windows, self._tensors["stem_conv/kernel"])
        x = swish(self._norm(x, "stem_bn"))
        outputs = {}
        for row in B0:
            if row.name == "block6a":
                outputs["block6a_activation"] = self.activation(x, row)
            x = outputs[row.name] = self.block(x, row)
        x = swish(self._norm(x @ self._tensors["top_conv/kernel"][0, 0], "top_bn")).mean((0, 1))
        outputs["logits"] = x @ self._tensors["probs/kernel"] + self._tensors["probs/bias"]
        return outputs
