"""Predictors from weights files, whatever kind of model is in them."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from cellml.errors import UsageError
from cellml.experiment.predictor import Predictor, Region

if TYPE_CHECKING:
    from cellml.tasks.nucleus_models import NucleusModel

VOTE_MIN = 0.5
"""A transform votes for a pixel where its own foreground probability lies above this."""
CHUNK_PX = 1024 * 1024
"""Transformed copies predicted at once hold at most about this many pixels together."""


def load_predictor(model: str | Path, *, tta: str = "none") -> Predictor:
    """Loads a model and compiles nothing yet.

    Args:
      model: Name of a shipped model or path of a weights file.
      tta: Key of `cellml.tta.PRESETS`.

    Returns:
      The predictor; it compiles once for every shape it meets.

    Raises:
      UsageError: Unknown model or preset, missing or damaged file, or weights of something else.
    """
    from cellml.tasks.nucleus_models import load_nucleus_model
    from cellml.weights.registry import MODELS
    from cellml.weights.store import file_sha256

    try:
        loaded = load_nucleus_model(model)
        name = str(model)
        sha256 = MODELS[name].sha256 if name in MODELS else file_sha256(model)
        return make_predictor(loaded, tta=tta, weights_sha256=sha256)
    except (ValueError, OSError) as error:
        raise UsageError(str(error)) from error


def make_predictor(
    model: "NucleusModel", *, tta: str = "none", weights_sha256: str | None = None
) -> Predictor:
    """A loaded model as a predictor.

    Args:
      model: Of any kind.
      tta: Key of `cellml.tta.PRESETS`.
      weights_sha256: Hash of its weights, kept with a run.

    Returns:
      The predictor. Without TTA its uncertainty is the entropy of the foreground probability, with
      TTA the variance over the copies.

    Raises:
      ValueError: Unknown preset.
    """
    from cellml.tta import resolve_transforms

    transforms = resolve_transforms(tta)

    def segment(image: Float[np.ndarray, "h w c"], seen: tuple[int, int]) -> Region:
        chunk = max(1, CHUNK_PX // (image.shape[0] * image.shape[1]))
        chunk = chunk if chunk < len(transforms) else None
        copies = model.predict(image, seen, tta, chunk)
        found = copies.merge(range(len(transforms)))
        merged = copies.probability.mean(axis=0)
        votes, objects = copies.probability > VOTE_MIN, np.zeros((int(found.labels.max()), 0))
        if len(transforms) == 1:
            return Region(found.labels, merged, votes[:0], entropy_bits(merged), objects)
        # from differences, as tta.variance: exactly zero where all copies agree
        unsure = np.var(copies.probability - copies.probability[:1], axis=0)
        if found.vote_share is not None and found.mean_iou is not None:
            # objects have been voted on as a whole: their pixels are not asked again
            votes, objects = votes[:0], np.stack([found.vote_share, 1 - found.mean_iou], axis=1)
        return Region(found.labels, merged, votes, unsure, objects)

    return Predictor(
        segment=segment,
        percentiles=model.percentiles,
        diameter_px=model.diameter_px,
        stride=model.stride,
        channels=model.channels,
        settings={"model": model.name, "weights_sha256": weights_sha256, "tta": tta},
    )


def entropy_bits(probability: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Host twin of `cellml.tta.entropy`, which would be compiled for every size of image.

    Args:
      probability: Within [0, 1]; 0 and 1 give 0.

    Returns:
      float32, in bits.
    """
    from scipy.special import entr

    p = probability.astype(np.float32)
    return ((entr(p) + entr(1 - p)) / np.float32(np.log(2))).astype(np.float32)
