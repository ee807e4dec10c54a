"""Published EfficientNet weights into our parameter tree, and nothing unchecked.

Layouts are told apart by their tensors' names: see `cellml.weights.efficientnet_layouts`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Float

from cellml.models.efficientnet import EfficientNet, dense_init
from cellml.types import Key
from cellml.weights.efficientnet_layouts import layer_names
from cellml.weights.torch_files import read_state_dict

Tensors = Mapping[str, np.ndarray]
Shape = tuple[int, ...]

_KERAS_NORM = {
    "gamma": ("params", "scale"),
    "beta": ("params", "bias"),
    "moving_mean": ("batch_stats", "mean"),
    "moving_variance": ("batch_stats", "var"),
}
_TORCH_NORM = {
    "weight": ("params", "scale"),
    "bias": ("params", "bias"),
    "running_mean": ("batch_stats", "mean"),
    "running_var": ("batch_stats", "var"),
}
_HDF5 = (".h5", ".hdf5")
# keras.applications standardises its input: these layers have numbers, but no place in the network
_INPUT_LAYERS = ("normalization", "rescaling")


class _Target(NamedTuple):
    """Where a tensor of a file goes.

    Attributes:
      path: Path of the leaf in the variables.
      kind: See `Layer`; of a kernel, otherwise "" for vectors, which stay as they are.
    """

    path: tuple[str, ...]
    kind: str


def read_efficientnet(
    path: str | Path,
    *,
    variant: str = "b0",
    in_channels: int | None = None,
    n_classes: int | None = None,
    key: Key | None = None,
) -> dict[str, Any]:
    """Reads a weights file of any known layout.

    Args:
      path: `.h5`, `.hdf5`, `.safetensors`, `.pth` or `.pt`.
      variant: The network that the weights are for, a key of `VARIANTS`.
      in_channels: Channels of the images; where the file has another number, its stem goes
        through `adapt_stem`. None for the file's.
      n_classes: Number of classes. None for the file's; where the file has no classifier, the
        variables have none either, which is enough for `embed`.
      key: Given, the classifier is drawn afresh for `n_classes`, and the file's is not read.
    Returns:
      Variables, float32, of `EfficientNet(variant, n_classes, ...)` with the fields that
      `module_options` gives for the layout.
    Raises:
      FileNotFoundError: There is no such file.
      ValueError: The layout or the variant is unknown; `key` came without `n_classes`; or tensors
        are missing, left over or of another shape, in which case the message lists all.
    """
    if key is not None and n_classes is None:
        raise ValueError("read_efficientnet: a fresh classifier (key) needs n_classes")
    path = Path(path)
    found = _read_tensors(path)
    layout = _layout_of(path, found)
    targets = tensor_targets(layout, variant)
    top = [name for name, target in targets.items() if target.path[1] == "classifier"]
    if key is not None or (n_classes is None and not any(name in found for name in top)):
        for name in top:
            targets.pop(name)
            found.pop(name, None)
    sizes = _sizes(layout, targets, found)
    channels = sizes.get("stem", 3)
    classes = sizes.get("classifier", 1) if n_classes is None else n_classes
    shapes = _our_shapes(variant, channels, classes)
    expected = _file_shapes(layout, targets, shapes)
    _check(path, f"EfficientNet {variant} in the layout {layout!r}", expected, found)
    tree: dict[Any, Any] = {
        target.path: jnp.asarray(_to_ours(found[name], target.kind, layout), jnp.float32)
        for name, target in targets.items()
    }
    if in_channels is not None:
        stem = ("params", "stem", "conv", "kernel")
        tree[stem] = adapt_stem(tree[stem], in_channels)
    if key is not None:
        kernel, bias = (("params", "classifier", leaf) for leaf in ("kernel", "bias"))
        tree[kernel] = dense_init(key, shapes[kernel], jnp.float32)
        tree[bias] = jnp.zeros(shapes[bias], jnp.float32)
    return unflatten_dict(tree)


def detect_layout(path: str | Path) -> str:
    """Which of `LAYOUTS` a file has.

    Raises:
      FileNotFoundError: There is no such file.
      ValueError: None of them.
    """
    return _layout_of(Path(path), _read_tensors(Path(path)))


def expected_tensors(
    layout: str, variant: str, *, channels: int, classes: int
) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all tensors that a file must have.

    Args:
      layout: One of `LAYOUTS`.
      variant: A key of `VARIANTS`.
      channels: Of the images.
      classes: Of the classifier.
    Returns:
      Shapes by name; Keras' names are shortened as in `tensor_targets`.
    """
    shapes = _our_shapes(variant, channels, classes)
    return _file_shapes(layout, tensor_targets(layout, variant), shapes)


def adapt_stem(kernel: Float[Array, "h w c f"], channels: int) -> Float[Array, "h w c2 f"]:
    """The first kernel for another number of channels: input i gets the filters of i % c.

    Nothing is rescaled, as in DeepProfiler.

    Args:
      kernel: Of the stem, usually for three channels.
      channels: Channels of the images.
    Returns:
      The kernel for `channels`.
    Raises:
      ValueError: `channels` is below 1.
    """
    if channels < 1:
        raise ValueError(f"adapt_stem: expected at least one channel, found {channels}")
    return kernel[:, :, np.arange(channels) % kernel.shape[2]]


def tensor_targets(layout: str, variant: str) -> dict[str, _Target]:
    """Where each tensor of a file goes, by its name there.

    Args:
      layout: One of `LAYOUTS`.
      variant: A key of `VARIANTS`.
    Returns:
      One entry for each leaf of the variables. Keras' names are shortened to the layer and the
      tensor, `block1a_dwconv/kernel`.
    """
    keras = layout.startswith("keras")
    join, norm = ("/", _KERAS_NORM) if keras else (".", _TORCH_NORM)
    kernel = "kernel" if keras else "weight"
    targets = {}
    for name, layer in layer_names(layout, variant).items():
        place = layer.place.split("/")
        if layer.kind == "norm":
            for leaf, (collection, ours) in norm.items():
                targets[f"{name}{join}{leaf}"] = _Target((collection, *place, ours), "")
            continue
        targets[f"{name}{join}{kernel}"] = _Target(("params", *place, "kernel"), layer.kind)
        if layer.kind in ("squeeze", "dense"):
            targets[f"{name}{join}bias"] = _Target(("params", *place, "bias"), "")
    return targets


def _to_ours(tensor: np.ndarray, kind: str, layout: str) -> np.ndarray:
    """A tensor of the file in our order of axes."""
    if layout.startswith("keras"):
        if kind in ("point", "squeeze"):
            return tensor[0, 0]
        return tensor.transpose(0, 1, 3, 2) if kind == "depthwise" else tensor
    if kind in ("conv", "depthwise"):
        return tensor.transpose(2, 3, 1, 0)
    return tensor.reshape(tensor.shape[:2]).T if kind else tensor


def _file_shape(shape: Shape, kind: str, layout: str) -> Shape:
    """The shape that one of our leaves has in the file."""
    if layout.startswith("keras"):
        if kind in ("point", "squeeze"):
            return (1, 1, *shape)
        return (*shape[:2], shape[3], 1) if kind == "depthwise" else shape
    if kind in ("conv", "depthwise"):
        return (shape[3], shape[2], *shape[:2])
    if kind in ("point", "squeeze"):
        return (*reversed(shape), 1, 1)
    return tuple(reversed(shape))


def _file_shapes(
    layout: str, targets: Mapping[str, _Target], shapes: Mapping[tuple[str, ...], Shape]
) -> dict[str, Shape]:
    """The shape of every tensor in the file, from those of our leaves."""
    return {
        name: _file_shape(shapes[target.path], target.kind, layout)
        for name, target in targets.items()
    }


def _sizes(layout: str, targets: Mapping[str, _Target], found: Tensors) -> dict[str, int]:
    """Channels of the stem and classes of the classifier, as far as the file has them."""
    sizes = {}
    for name, target in targets.items():
        if target.path[1] in ("stem", "classifier") and target.path[-1] == "kernel":
            tensor = found.get(name)
            if tensor is not None and tensor.ndim == (4 if target.kind == "conv" else 2):
                ours = _to_ours(tensor, target.kind, layout).shape
                sizes[target.path[1]] = ours[2] if target.kind == "conv" else ours[1]
    return sizes


def _our_shapes(variant: str, channels: int, classes: int) -> dict[tuple[str, ...], Shape]:
    """Shape of every leaf of the network's variables."""
    image = jax.ShapeDtypeStruct((1, 32, 32, channels), jnp.float32)
    model = EfficientNet(variant, n_classes=classes)
    leaves: Any = flatten_dict(dict(jax.eval_shape(model.init, jax.random.key(0), image)))
    return {path: leaf.shape for path, leaf in leaves.items()}


def _read_tensors(path: Path) -> dict[str, np.ndarray]:
    """The file's tensors by name; counters and what belongs to the input are left out."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such weights file")
    if path.suffix in _HDF5:
        return _read_keras(path)
    found = read_state_dict(path)
    return {name: a for name, a in found.items() if not name.endswith("num_batches_tracked")}


def _read_keras(path: Path) -> dict[str, np.ndarray]:
    """Arrays of a Keras file by layer and tensor, `stem_conv/kernel`."""
    arrays: dict[str, np.ndarray] = {}

    def collect(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            arrays[name] = item[()]

    try:
        with h5py.File(path, "r") as file:
            root: Any = file.get("model_weights", file.get("layers", file))
            root.visititems(collect)
    except OSError as error:
        raise ValueError(f"{path}: expected a Keras weights file (.h5), found {error}") from error
    found: dict[str, np.ndarray] = {}
    for name, array in arrays.items():
        layer, tensor = _keras_name(name)
        if layer.startswith(_INPUT_LAYERS) or "seed_generator" in name:
            continue
        if f"{layer}/{tensor}" in found:
            raise ValueError(f"{path}: two tensors are called {layer}/{tensor}, one is {name}")
        found[f"{layer}/{tensor}"] = array
    return _name_classifier(found)


def _keras_name(name: str) -> tuple[str, str]:
    """Layer and tensor of a path in a Keras file.

    Paths: `stem_conv/stem_conv/kernel:0`, `layers/conv2d_1/vars/0`, and
    `efficientnet-b0/stem_conv/kernel:0` of a network that is one layer of another.
    """
    *_, layer, tensor = ["", *name.split("/")]
    tensor = tensor.removesuffix(":0")
    if layer == "vars" and tensor.isdigit():
        layer = name.split("/")[-3]
        leaves = [*_KERAS_NORM] if layer.startswith("batch_norm") else ["kernel", "bias"]
        return layer, dict(enumerate(leaves)).get(int(tensor), tensor)
    # Before Keras 3, the kernel of a depthwise convolution has a name of its own.
    return layer, "kernel" if tensor == "depthwise_kernel" else tensor


def _name_classifier(found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Renames the one dense layer, which everybody calls differently, to `classifier`."""
    dense = [
        name.removesuffix("/kernel")
        for name, array in found.items()
        if name.endswith("/kernel") and array.ndim == 2 and not name.startswith("block")
    ]
    if len(dense) != 1:
        return found
    old = f"{dense[0]}/"
    return {
        f"classifier/{name.removeprefix(old)}" if name.startswith(old) else name: array
        for name, array in found.items()
    }


def _layout_of(path: Path, found: Tensors) -> str:
    """See `detect_layout`."""
    marks = {
        "stem_conv/kernel": "keras",
        "depthwise_conv2d/kernel": "keras3",
        "conv_stem.weight": "timm",
        "features.0.0.weight": "torchvision",
    }
    for name, layout in marks.items():
        if name in found:
            return layout
    some = ", ".join(sorted(found)[:5])
    raise ValueError(
        f"{path}: expected EfficientNet weights, that is one of the tensors "
        f"{', '.join(marks)}; found {len(found)} tensors: {some or 'none'}"
    )


def _check(path: Path, what: str, expected: Mapping[str, Shape], found: Tensors) -> None:
    """Raises ValueError with every tensor that is missing, left over or of another shape."""
    problems = [f"missing {name} {shape}" for name, shape in expected.items() if name not in found]
    problems += [f"extra {name} {a.shape}" for name, a in found.items() if name not in expected]
    problems += [
        f"misshapen {name}: expected {shape}, found {found[name].shape}"
        for name, shape in expected.items()
        if name in found and found[name].shape != shape
    ]
    if problems:
        raise ValueError(
            f"{path}: {len(problems)} tensors do not fit {what}:\n  " + "\n  ".join(problems)
        )
