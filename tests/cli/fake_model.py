"""Models that need no weights: bright pixels are foreground, connected ones a nucleus."""

import numpy as np
from scipy import ndimage

from cellml.experiment.predictor import Predictor, Region
from cellml.tasks.detections_host import Instances
from cellml.tasks.instance_tta import one_by_one
from cellml.tasks.nucleus_models import NucleusModel, instance_copies


def fake_predictor(*, transforms: int = 0, name: str = "fake", margin_diameter: float = 20.0):
    """Returns a predictor whose answer for a pixel depends on that pixel only."""
    shapes: list[tuple[int, int]] = []

    def segment(image: np.ndarray, seen: tuple[int, int]) -> Region:
        shapes.append((image.shape[0], image.shape[1]))
        probability = np.clip(image[: seen[0], : seen[1], 0], 0, 1)
        levels = np.linspace(0.3, 0.7, transforms)[:, None, None]
        labels = np.asarray(ndimage.label(probability > 0.5)[0], np.int32)
        objects = np.zeros((int(labels.max()), 0))
        return Region(labels, probability, probability > levels, probability / 4, objects)

    predictor = Predictor(
        segment=segment,
        percentiles=(0.0, 100.0),
        diameter_px=margin_diameter,
        stride=16,
        settings={"model": name, "tta": "d4" if transforms else "none"},
    )
    return predictor, shapes


def bright_objects(image: np.ndarray) -> Instances:
    """Labels connected bright pixels: the same objects whichever way the image is turned."""
    probability = np.clip(image[..., 0], 0, 1).astype(np.float32)
    labels = np.asarray(ndimage.label(probability > 0.5)[0], np.int32)
    return Instances(labels, np.ones(int(labels.max()), np.float32), probability)


def fake_instance_model(segment_one=bright_objects) -> NucleusModel:
    """Returns a model that finds objects one by one, sides in multiples of 16."""
    return NucleusModel(
        name="fake-instances",
        kind="instance_segmenter",
        predict=instance_copies(one_by_one(segment_one)),
        percentiles=(0.0, 100.0),
        diameter_px=20.0,
        stride=16,
    )


def discs(shape: tuple[int, int], spacing: int, radius: int, *, seed: int = 0) -> np.ndarray:
    """Draws one bright disc a grid cell, jittered, on a noisy dark field."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    jitter = spacing // 2 - radius - 1
    rows, columns = (-(-n // spacing) for n in shape)
    offset = generator.integers(-jitter, jitter + 1, (2, rows, columns))
    cy = (y // spacing) * spacing + spacing // 2 + offset[0, y // spacing, x // spacing]
    cx = (x // spacing) * spacing + spacing // 2 + offset[1, y // spacing, x // spacing]
    inside = (y - cy) ** 2 + (x - cx) ** 2 <= radius**2
    field = np.where(inside, 200, 10) + generator.integers(0, 10, shape)
    return field.astype(np.uint8)
