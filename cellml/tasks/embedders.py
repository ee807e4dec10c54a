"""Where embedders come from: fresh weights, published ones, and files of our own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cellml.tasks.embedding import Embedder, EmbedderSpec
from cellml.types import Key, Variables
from cellml.weights.efficientnet import adapt_stem, detect_layout, read_efficientnet
from cellml.weights.efficientnet_layouts import module_options
from cellml.weights.registry import CELLS, resolve_model
from cellml.weights.store import load_weights, read_description, save_weights

IMAGENET_PX = 224
"""Side of the images that the published weights of B0 were trained on."""


def random_embedder(*, seed: int, input_px: int = IMAGENET_PX, variant: str = "b0") -> Embedder:
    """A network with fresh random weights, used as published ones are: the floor of comparison.

    Args:
      seed: Of the weights.
      input_px: Crops are resized to this side.
      variant: Size of the network.
    Returns:
      An embedder of the route `by_channel`.
    """
    spec = EmbedderSpec("random", "by_channel", variant, input_px=input_px)
    example = jnp.zeros((1, 32, 32, 3), jnp.float32)
    variables = jax.jit(spec.network().init)(jax.random.key(seed), example)
    return Embedder(spec, _grey_stem(variables))


def imagenet_embedder(
    path: str | Path, *, input_px: int = IMAGENET_PX, variant: str = "b0", layout: str | None = None
) -> Embedder:
    """A network with published weights for photographs, each channel on its own.

    Args:
      path: Weights, see `cellml.weights.efficientnet.read_efficientnet`.
      input_px: Crops are resized to this side.
      variant: Size of the network.
      layout: `"timm_tf"` for timm's `tf_efficientnet_*`, which a file cannot tell from timm's own;
        None for what the file looks like.
    Returns:
      An embedder of the route `by_channel`.
    Raises:
      FileNotFoundError: There is no such file.
      ValueError: It does not fit.
    """
    options = module_options(layout or detect_layout(path), variant)
    spec = EmbedderSpec(
        f"imagenet:{Path(path).name}",
        "by_channel",
        variant,
        input_px=input_px,
        padding=options["padding"],
        norm_epsilon=options["norm_epsilon"],
    )
    return Embedder(spec, _grey_stem(read_efficientnet(path, variant=variant)))


def starting_variables(spec: EmbedderSpec, path: str | Path, key: Key) -> Variables:
    """Variables to begin training from: published weights, or an embedder of ours.

    An embedder's stem follows the names of its channels where these are the same in another order;
    else the stem is fitted to the channels cyclically without rescaling, as in DeepProfiler. The
    classifier is drawn afresh unless the classes are the same.

    Args:
      spec: What is to be trained.
      path: A weights file, or the name of a shipped network for cells.
      key: Of the fresh classifier.
    Returns:
      Variables for `spec.network()`.
    Raises:
      FileNotFoundError: There is no such file.
      ValueError: It does not fit.
    """
    path = resolve_model(path, kind=CELLS)
    fresh = {"in_channels": len(spec.channels), "n_classes": len(spec.classes), "key": key}
    if Path(path).suffix != ".safetensors" or not _is_ours(path):
        return read_efficientnet(path, variant=spec.variant, **fresh)
    old = load_embedder(path)
    variables = jax.tree.map(jnp.asarray, dict(old.variables))
    if old.spec.variant != spec.variant:
        raise ValueError(f"{path}: expected network {spec.variant}, found {old.spec.variant}")
    params = {**variables["params"]}
    kernel = params["stem"]["conv"]["kernel"]
    if sorted(old.spec.channels) == sorted(spec.channels):
        kernel = kernel[:, :, np.array([old.spec.channels.index(c) for c in spec.channels])]
    else:
        kernel = adapt_stem(kernel, len(spec.channels))
    params["stem"] = {**params["stem"], "conv": {"kernel": kernel}}
    if old.spec.classes != spec.classes:
        example = jnp.zeros((1, 32, 32, len(spec.channels)), jnp.float32)
        params["classifier"] = spec.network().init(key, example)["params"]["classifier"]
    return {**variables, "params": params}


def keep_start(trained: Variables, start: Variables, share: float) -> Variables:
    """Weights between those of the start and those that were trained; the classifier is trained.

    A network that is trained on for a few treatments loses some of what it knew; half-way back it
    has most of both.

    Args:
      trained: Of a network.
      start: What its training began with.
      share: Of the start, from 0 to 1.
    Returns:
      Variables, batch statistics among them.
    Source: Wortsman et al. 2022, CVPR, arXiv:2109.01903 (WiSE-FT).
    """
    mixed = jax.tree.map(lambda new, old: (1 - share) * new + share * old, trained, start)
    params = {**mixed["params"], "classifier": trained["params"]["classifier"]}
    return {**mixed, "params": params}


def save_embedder(
    path: str | Path,
    embedder: Embedder,
    *,
    card: Mapping[str, Any] | None = None,
    half: bool = False,
) -> None:
    """Writes a model that `load_embedder` and `cellml profile embed --model` read.

    Args:
      path: A `.safetensors` file.
      embedder: The model.
      card: JSON-able facts about training and scores, kept beside the spec.
      half: Store the weights in float16.
    """
    description = {"kind": "embedder", "spec": embedder.spec.to_json(), "card": dict(card or {})}
    save_weights(path, embedder.variables, description, half=half)


def load_embedder(path: str | Path) -> Embedder:
    """Loads what `save_embedder` wrote.

    Args:
      path: A weights file, or the name of a shipped network for cells.

    Returns:
      The model.

    Raises:
      FileNotFoundError: A path that leads nowhere.
      ValueError: No weights file of an embedder.
    """
    path = resolve_model(path, kind=CELLS)
    variables, description = load_weights(path)
    if description.get("kind") != "embedder":
        raise ValueError(
            f"{path}: expected weights of an embedder, found {description.get('kind')}"
        )
    return Embedder(EmbedderSpec.from_json(description["spec"]), variables)


def _is_ours(path: str | Path) -> bool:
    try:
        read_description(path)
    except ValueError:
        return False
    return True


def _grey_stem(variables: Variables) -> dict[str, Any]:
    """Sums the first kernel over its colours: one grey image instead of three copies of it."""
    params = dict(variables["params"])
    kernel = params["stem"]["conv"]["kernel"].sum(axis=2, keepdims=True)
    params["stem"] = {**params["stem"], "conv": {"kernel": kernel}}
    return {**variables, "params": params}
