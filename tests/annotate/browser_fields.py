"""The images of the browser tests, and where their nuclei are."""

from pathlib import Path

import numpy as np
import tifffile
from PIL import Image
from scipy import ndimage

from cellml.data.simulation import simulate_field
from tests.annotate.browser_support import Hand, circle

SHAPE = (240, 320)
NAMES = ("a_story.png", "b_tabs.png", "c_tools.png", "d_modes.png", "e_all.png", "f_bits.tif")
STORY, TABS, TOOLS, MODES, ALL, BITS, BROKEN = range(7)
MARGIN_PX = 24


def write_fields(folder: Path) -> list[np.ndarray]:
    """Writes the images, the last one broken; returns the labels of the others."""
    labels = []
    for seed, name in enumerate(NAMES):
        bits = 16 if name.endswith(".tif") else 8
        image, truth = simulate_field(
            np.random.default_rng(seed), shape=SHAPE, n_nuclei=14, diameter_px=26.0, touching=0.0,
            blur_px=1.0, photons=400.0, bits=bits,
        )  # fmt: skip
        if bits == 16:
            tifffile.imwrite(folder / name, image[..., 0])
        else:
            Image.fromarray(image[..., 0]).save(folder / name)
        labels.append(truth)
    (folder / "g_broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing of use")
    return labels


def nuclei(labels: np.ndarray) -> list[tuple[tuple[float, float], float]]:
    """Centre (x, y) and radius of the nuclei that are whole, lone and large enough, by size."""
    found = []
    height, width = labels.shape
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        mask = labels == number
        y, x = (float(value) + 0.5 for value in ndimage.center_of_mass(mask))
        radius = max(side.stop - side.start for side in box) / 2
        inside = MARGIN_PX < x < width - MARGIN_PX and MARGIN_PX < y < height - MARGIN_PX
        grown = ndimage.binary_dilation(mask, iterations=7)
        if inside and radius > 8 and not np.any(labels[grown & ~mask]):
            found.append(((x, y), radius))
    return sorted(found, key=lambda item: -item[1])


def draw_around(
    hand: Hand, nucleus: tuple[tuple[float, float], float], factor: float = 1.35
) -> None:
    hand.drag(circle(nucleus[0], nucleus[1] * factor))
