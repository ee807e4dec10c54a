"""A predictor that needs no weights: bright pixels are foreground, connected ones a nucleus."""

import numpy as np
from scipy import ndimage

from cellml.commands.predictor import Predictor, RegionMaps


def fake_predictor(*, transforms: int = 0, name: str = "fake", margin_diameter: float = 20.0):
    """Returns a predictor whose answer for a pixel depends on that pixel only."""
    shapes: list[tuple[int, int]] = []

    def predict(image: np.ndarray) -> RegionMaps:
        shapes.append((image.shape[0], image.shape[1]))
        probability = np.clip(image[..., :1], 0, 1)
        levels = np.linspace(0.3, 0.7, transforms)[:, None, None]
        return RegionMaps(probability, probability[None, ..., 0] > levels, probability[..., 0] / 4)

    def labels_from_maps(maps: np.ndarray) -> np.ndarray:
        return np.asarray(ndimage.label(maps[..., 0] > 0.5)[0], np.int32)

    predictor = Predictor(
        predict=predict,
        labels_from_maps=labels_from_maps,
        percentiles=(0.0, 100.0),
        diameter_px=margin_diameter,
        stride=16,
        settings={"model": name, "tta": "d4" if transforms else "none"},
    )
    return predictor, shapes


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
