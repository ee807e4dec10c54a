"""What the layers of EfficientNet are called in published weights files, and how they were meant.

Layouts:

- `keras`: HDF5 by layer names. The package `efficientnet` (its top is called `probs`),
  `keras.applications` (`predictions`) and DeepProfiler with its Cell Painting CNN (`ClassProb`, or
  the name of the label column).
- `keras3`: HDF5 `.weights.h5` of Keras 3, whose layers are numbered by class.
- `timm`: state dicts of timm's `efficientnet_*` and `tf_efficientnet_*`.
- `torchvision`: state dicts of `torchvision.models.efficientnet_*`.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from cellml.models.efficientnet_blocks import BlockSpec, block_specs

LAYOUTS = ("keras", "keras3", "timm", "torchvision")


class Layer(NamedTuple):
    """One layer of ours.

    Attributes:
      place: Its path in the parameter tree, `block2a/expand`.
      kind: `conv`, `point` (1x1 convolution), `depthwise`, `norm`, `squeeze` (1x1 convolution with
        a bias, of one pixel) or `dense`.
    """

    place: str
    kind: str


def module_options(layout: str, variant: str = "b0") -> dict[str, Any]:
    """Fields of `EfficientNet` with which weights give the numbers that their authors got.

    Args:
      layout: One of `LAYOUTS`, or `"timm_tf"` for timm's `tf_efficientnet_*`: its tensors have the
        names of `efficientnet_*`, so that a file alone cannot tell.
      variant: A key of `VARIANTS`.
    Returns:
      `padding`, `norm_epsilon` and `norm_momentum`.
    Raises:
      ValueError: Unknown layout.
    """
    if layout in ("keras", "keras3", "timm_tf"):
        return {"padding": "SAME", "norm_epsilon": 1e-3, "norm_momentum": 0.99}
    if layout == "torchvision" and variant in ("b5", "b6", "b7"):
        return {"padding": "TORCH", "norm_epsilon": 1e-3, "norm_momentum": 0.99}
    if layout in ("timm", "torchvision"):
        return {"padding": "TORCH", "norm_epsilon": 1e-5, "norm_momentum": 0.9}
    raise ValueError(f"unknown layout {layout!r}; known: {', '.join(LAYOUTS)}, timm_tf")


def network_layers(variant: str) -> Iterator[Layer]:
    """All layers of a variant in the order of the computation."""
    yield Layer("stem/conv", "conv")
    yield Layer("stem/norm", "norm")
    for spec in block_specs(variant):
        if spec.expand > 1:
            yield Layer(f"{spec.name}/expand", "point")
            yield Layer(f"{spec.name}/expand_norm", "norm")
        yield Layer(f"{spec.name}/depthwise", "depthwise")
        yield Layer(f"{spec.name}/depthwise_norm", "norm")
        yield Layer(f"{spec.name}/reduce", "squeeze")
        yield Layer(f"{spec.name}/excite", "squeeze")
        yield Layer(f"{spec.name}/project", "point")
        yield Layer(f"{spec.name}/project_norm", "norm")
    yield Layer("head/conv", "point")
    yield Layer("head/norm", "norm")
    yield Layer("classifier", "dense")


def layer_names(layout: str, variant: str) -> dict[str, Layer]:
    """Our layers by the names that they have in a file.

    Args:
      layout: One of `LAYOUTS`.
      variant: A key of `VARIANTS`.
    Returns:
      `{"block1a_dwconv": Layer("block1a/depthwise", "depthwise"), ...}`. Keras' classifier is
      called `classifier` here, as its name varies.
    Raises:
      ValueError: Unknown layout or variant.
    """
    layers = list(network_layers(variant))
    if layout not in LAYOUTS:
        raise ValueError(f"unknown layout {layout!r}; known: {', '.join(LAYOUTS)}")
    if layout == "keras3":
        return _keras3_names(layers)
    blocks = block_specs(variant)
    top, inner = _TOPS[layout], _BLOCKS[layout]
    names = {}
    for layer in layers:
        first, _, rest = layer.place.partition("/")
        if first.startswith("block"):
            spec = next(spec for spec in blocks if spec.name == first)
            names[inner(spec, rest)] = layer
        else:
            names[top[layer.place]] = layer
    return names


_TOPS = {
    "keras": {
        "stem/conv": "stem_conv",
        "stem/norm": "stem_bn",
        "head/conv": "top_conv",
        "head/norm": "top_bn",
        "classifier": "classifier",
    },
    "timm": {
        "stem/conv": "conv_stem",
        "stem/norm": "bn1",
        "head/conv": "conv_head",
        "head/norm": "bn2",
        "classifier": "classifier",
    },
    "torchvision": {
        "stem/conv": "features.0.0",
        "stem/norm": "features.0.1",
        "head/conv": "features.8.0",
        "head/norm": "features.8.1",
        "classifier": "classifier.1",
    },
}


def _keras_block(spec: BlockSpec, layer: str) -> str:
    names = {
        "expand": "expand_conv",
        "expand_norm": "expand_bn",
        "depthwise": "dwconv",
        "depthwise_norm": "bn",
        "reduce": "se_reduce",
        "excite": "se_expand",
        "project": "project_conv",
        "project_norm": "project_bn",
    }
    return f"{spec.name}_{names[layer]}"


def _timm_block(spec: BlockSpec, layer: str) -> str:
    """Blocks are counted from 0; the projection is `conv_pw` where nothing was expanded."""
    names = {
        "expand": "conv_pw",
        "expand_norm": "bn1",
        "depthwise": "conv_dw",
        "depthwise_norm": "bn2",
        "reduce": "se.conv_reduce",
        "excite": "se.conv_expand",
        "project": "conv_pwl",
        "project_norm": "bn3",
    }
    if spec.expand == 1:
        names |= {"depthwise_norm": "bn1", "project": "conv_pw", "project_norm": "bn2"}
    stage, block = int(spec.name[5]) - 1, ord(spec.name[6]) - ord("a")
    return f"blocks.{stage}.{block}.{names[layer]}"


def _torchvision_block(spec: BlockSpec, layer: str) -> str:
    """Parts of a block are counted, so that all move up where nothing was expanded."""
    shift = 0 if spec.expand == 1 else 1
    names = {
        "expand": "0.0",
        "expand_norm": "0.1",
        "depthwise": f"{shift}.0",
        "depthwise_norm": f"{shift}.1",
        "reduce": f"{shift + 1}.fc1",
        "excite": f"{shift + 1}.fc2",
        "project": f"{shift + 2}.0",
        "project_norm": f"{shift + 2}.1",
    }
    stage, block = int(spec.name[5]), ord(spec.name[6]) - ord("a")
    return f"features.{stage}.{block}.block.{names[layer]}"


_BLOCKS = {"keras": _keras_block, "timm": _timm_block, "torchvision": _torchvision_block}


def _keras3_names(layers: list[Layer]) -> dict[str, Layer]:
    """`conv2d`, `conv2d_1`, `batch_normalization_7`: each class is counted by itself."""
    classes = {
        "norm": "batch_normalization",
        "depthwise": "depthwise_conv2d",
        "dense": "classifier",
    }
    counts: dict[str, int] = {}
    names = {}
    for layer in layers:
        name = classes.get(layer.kind, "conv2d")
        count = counts.setdefault(name, 0)
        counts[name] += 1
        names[f"{name}_{count}" if count else name] = layer
    return names
