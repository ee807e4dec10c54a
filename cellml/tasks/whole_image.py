"""A segmenter on one whole image that fits in memory, with or without test-time augmentation."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Shaped

from cellml import tta
from cellml.ops.intensity import intensity_limits, normalise
from cellml.ops.tiles import bucket, pad_reflect
from cellml.tasks.semantic import Segmenter, SegmenterSpec, labels_from_maps, predict_maps
from cellml.types import Variables

StackPredictor = Callable[[Variables, Float[Array, "h w c"]], Float[Array, "t h w k"]]


@functools.lru_cache(maxsize=32)
def stack_predictor(
    spec: SegmenterSpec, transforms: str = "none", chunk: int | None = None
) -> StackPredictor:
    """The jitted function that predicts all transformed copies of an image and turns them back.

    Args:
      spec: Static.
      transforms: A preset of `cellml.tta`.
      chunk: Copies predicted at once, None for all.
    Returns:
      `(variables, image) -> probabilities`, image sides in multiples of `spec.stride`. One
      function for equal arguments, so that a shape is compiled once in a process.
    """

    def predict(variables: Variables, image: Float[Array, "h w c"]) -> Float[Array, "t h w k"]:
        def one(view: Float[Array, "h w c"]) -> Float[Array, "h w k"]:
            return predict_maps(spec, variables, view[None])[0]

        return tta.predict(one, image, transforms=transforms, chunk=chunk)

    return jax.jit(predict)


def predict_stack(
    segmenter: Segmenter,
    image: Shaped[np.ndarray, "h w c"],
    *,
    transforms: str = "none",
    chunk: int | None = None,
) -> Float[np.ndarray, "t h w k"]:
    """Probabilities of every head under every transform, in the image's frame.

    Args:
      segmenter: The model.
      image: Raw intensities, any dtype; 1 channel or as many as the model takes.
      transforms: A preset of `cellml.tta`.
      chunk: Copies predicted at once, None for all.
    Returns:
      float32 within [0, 1], one slice a transform, in the preset's order.
    """
    spec = segmenter.spec
    limits = intensity_limits(image, spec.percentiles)
    pixels = normalise(image, limits, channels=spec.in_channels)
    height, width = pixels.shape[:2]
    padded = pad_reflect(pixels, (bucket(height, spec.stride), bucket(width, spec.stride)))
    stack = stack_predictor(spec, transforms, chunk)(segmenter.variables, jnp.asarray(padded))
    return np.asarray(stack)[:, :height, :width]


def segment_image(
    segmenter: Segmenter,
    image: Shaped[np.ndarray, "h w c"],
    *,
    transforms: str = "none",
    chunk: int | None = None,
) -> Int[np.ndarray, "h w"]:
    """Nuclei of one image: mean of the maps over the transforms, then `labels_from_maps`.

    Args:
      segmenter: As for `predict_stack`, with the next three.
      image: See there.
      transforms: See there.
      chunk: See there.
    Returns:
      int32 labels 1..n, 0 is background.
    """
    stack = predict_stack(segmenter, image, transforms=transforms, chunk=chunk)
    return labels_from_maps(stack.mean(axis=0), segmenter.spec)
