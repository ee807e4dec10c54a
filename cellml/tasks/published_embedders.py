"""Networks for cells from other people's weights files: all channels go through them at once.

DeepProfiler's Cell Painting CNN and whatever was trained with it, Keras' EfficientNet, and state
dicts of timm and torchvision, whose first convolution takes as many channels as the cells have.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cellml.tasks.embedding import Embedder, EmbedderSpec
from cellml.weights.efficientnet import adapt_stem, detect_layout, read_efficientnet
from cellml.weights.efficientnet_layouts import module_options
from cellml.weights.store import read_description

OUR_SUFFIX = ".safetensors"
DEFAULT_INTENSITY = "deepprofiler-legacy"
"""What DeepProfiler's networks saw until August 2024."""


def is_published(path: str | Path) -> bool:
    """Whether a file is there that is not one of our own embedders."""
    path = Path(path)
    if not path.is_file():
        return False
    if path.suffix != OUR_SUFFIX:
        return True
    try:
        read_description(path)
    except ValueError as error:
        return "not one written by cellml" in str(error)
    return False


def stacked_embedder(
    path: str | Path,
    channels: Sequence[str],
    *,
    file_channels: Sequence[str] = (),
    cyclic: bool = False,
    variant: str = "b0",
    layout: str | None = None,
    intensity: str = DEFAULT_INTENSITY,
    input_px: int = 0,
) -> Embedder:
    """A network from a published file, for cells with these channels.

    Args:
      path: Weights, see `cellml.weights.efficientnet.read_efficientnet`.
      channels: Of the cells, in their order.
      file_channels: What the channels of the first convolution stand for, in its order; by default
        `channels`. Channels of the cells that are not among them have no part in the features.
      cyclic: Whether to make a first convolution for as many channels as the cells have, channel i
        with the filters of i modulo the file's number, as DeepProfiler starts a training.
      variant: Size of the network.
      layout: `"timm_tf"` for timm's `tf_efficientnet_*`; None for what the file looks like.
      intensity: How each channel of a crop is scaled, one of `INTENSITIES`.
      input_px: Crops are resized to this side, 0 for not at all.

    Returns:
      An embedder of the route `stacked`.

    Raises:
      FileNotFoundError: There is no such file.
      ValueError: Layers do not fit (all are listed), or the channels.
    """
    options = module_options(layout or detect_layout(path), variant)
    variables = read_efficientnet(path, variant=variant)
    params = dict(variables["params"])
    kernel = params["stem"]["conv"]["kernel"]
    params["stem"] = {
        **params["stem"],
        "conv": {"kernel": _for_cells(path, kernel, channels, file_channels, cyclic)},
    }
    spec = EmbedderSpec(
        f"published:{Path(path).name}",
        "stacked",
        variant,
        channels=tuple(channels),
        input_px=input_px,
        intensity=intensity,
        padding=options["padding"],
        norm_epsilon=options["norm_epsilon"],
    )
    return Embedder(spec, {**variables, "params": params})


def _for_cells(
    path: str | Path,
    kernel: Any,
    channels: Sequence[str],
    file_channels: Sequence[str],
    cyclic: bool,
) -> Any:
    """The first kernel in the order of the cells' channels."""
    taken, there = kernel.shape[2], ", ".join(channels)
    if cyclic:
        if file_channels:
            raise ValueError(f"{path}: the order of channels and --cyclic-stem exclude each other")
        return adapt_stem(kernel, len(channels))
    order = tuple(file_channels) or tuple(channels)
    if len(order) != taken:
        given = "the order of channels" if file_channels else "the cells"
        hint = "" if file_channels else (
            "; name them with --channel-order, fit the first convolution with --cyclic-stem, or "
            "embed each channel on its own with --model imagenet --weights"
        )  # fmt: skip
        raise ValueError(
            f"{path}: the first convolution takes {taken} channels, {given}: {len(order)} "
            f"({', '.join(order)}){hint}"
        )
    missing = [name for name in order if name not in channels]
    repeated = sorted({name for name in order if order.count(name) > 1})
    if missing or repeated:
        what = f"no channel {missing[0]!r}" if missing else f"channel {repeated[0]!r} comes twice"
        raise ValueError(f"--channel-order {','.join(order)}: {what}; the cells have {there}")
    empty = np.zeros((*kernel.shape[:2], 1, kernel.shape[3]), np.float32)
    parts = [
        kernel[:, :, order.index(name)][:, :, None] if name in order else empty for name in channels
    ]
    return np.concatenate(parts, axis=2)
