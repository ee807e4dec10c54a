"""Turns a training run into a model that ships: thresholds, weights file, scores, model card.

launch/release.py --run runs/unet_nuclei --name nuclei --out cellml/weights/pretrained
"""

import dataclasses
import hashlib
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cellml.metrics.scores import evaluate_labels
from cellml.tasks.semantic import Segmenter, SegmenterSpec, labels_from_maps
from cellml.tasks.whole_image import predict_stack

GRID: Mapping[str, Sequence[float]] = {
    "foreground_min": (0.4, 0.45, 0.5, 0.55),
    "seed_distance_min": (0.3, 0.4, 0.5, 0.6, 0.7),
    "seed_boundary_max": (0.2, 0.35, 0.5, 1.1),
}
"""Thresholds that are tried; a boundary maximum above 1 switches that head off."""


def tune_thresholds(
    segmenter: Segmenter,
    source: Sequence[Mapping[str, Any]],
    *,
    per_modality: int = 40,
    transforms: str = "none",
    grid: Mapping[str, Sequence[float]] = GRID,
) -> tuple[SegmenterSpec, list[dict[str, float]]]:
    """Chooses the post-processing thresholds on images that are not for validation.

    Args:
      segmenter: The model; its own thresholds do not matter.
      source: Records, usually of the training split.
      per_modality: At most so many images of each modality, spread evenly over the source.
      transforms: TTA preset.
      grid: Values to try of fields of the spec.
    Returns:
      The spec with the thresholds that give the best mean over modalities of the mean mAP_DSB
      (preset kaggle), and every combination with its score.
    """
    rows: dict[str, list[int]] = {}
    for row in range(len(source)):
        rows.setdefault(str(source[row]["modality"]), []).append(row)
    cases: list[tuple[str, np.ndarray, np.ndarray]] = []
    for modality, members in sorted(rows.items()):
        picks = np.linspace(0, len(members) - 1, min(per_modality, len(members))).astype(int)
        for row in (members[i] for i in picks):
            stack = predict_stack(segmenter, source[row]["image"], transforms=transforms, chunk=2)
            cases.append((modality, np.asarray(source[row]["labels"]), stack.mean(axis=0)))
    tried = []
    for values in itertools.product(*grid.values()):
        changes = dict(zip(grid, values, strict=True))
        spec = dataclasses.replace(segmenter.spec, **changes)
        scores: dict[str, list[float]] = {}
        for modality, true, maps in cases:
            score = evaluate_labels(true, labels_from_maps(maps, spec)).ap_dsb2018
            scores.setdefault(modality, []).append(score)
        means = {name: float(np.mean(found)) for name, found in scores.items()}
        tried.append({**changes, **means, "mean": float(np.mean(list(means.values())))})
    best = max(tried, key=lambda row: row["mean"])
    return dataclasses.replace(segmenter.spec, **{name: best[name] for name in grid}), tried


def content_hash(source: Sequence[Mapping[str, Any]]) -> str:
    """SHA-256 over ids, pixels and labels of all records in order: which data a model has seen."""
    digest = hashlib.sha256()
    for row in range(len(source)):
        record = source[row]
        digest.update(str(record["id"]).encode())
        for name, dtype in (("image", np.uint8), ("labels", np.uint16)):
            array = np.ascontiguousarray(record[name], dtype)
            digest.update(repr(array.shape).encode() + array.tobytes())
    return digest.hexdigest()


def mean_diameter_px(source: Sequence[Mapping[str, Any]]) -> float:
    """Median over images of the median equivalent diameter of their nuclei, in px."""
    medians = []
    for row in range(len(source)):
        areas = np.bincount(np.asarray(source[row]["labels"]).ravel())[1:]
        if np.any(areas):
            medians.append(float(np.median(np.sqrt(4 * areas[areas > 0] / np.pi))))
    return float(np.median(medians))
