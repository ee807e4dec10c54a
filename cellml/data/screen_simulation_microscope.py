"""Takes pictures of stained cells: dye strength, optics and camera of a batch, plate and well.

What differs between batches here has nothing to do with the treatments: it is what profiles have
to be freed of.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt16
from scipy import ndimage

from cellml.data.screen_simulation_design import (
    SEED_BATCH,
    SEED_PLATE,
    SEED_WELL,
    ScreenDesign,
    Well,
)
from cellml.data.screen_simulation_phenotypes import (
    Phenotype,
    add,
    draw_variation,
    scale,
)
from cellml.data.screen_simulation_stains import CHANNELS

FULL_SIGNAL = 9000.0
"""Grey value of brightness 1 in a channel of gain 1."""

OFFSET = 300.0
READ_NOISE = 12.0
PHOTONS = 900.0
"""Photons of brightness 1 at gain 1."""

FAULTY_BLUR_PX = 4.0

WELL_SPREAD = 0.5
"""Between wells, relative to between batches."""

# Emission spectra of neighbouring dyes overlap: RNA in ER and the other way round, AGP in RNA.
CROSSTALK = np.array(
    [
        [1.0, 0.0, 0.0, 0.0, 0.0],
        [0.0, 1.0, 0.18, 0.02, 0.0],
        [0.0, 0.12, 1.0, 0.06, 0.0],
        [0.0, 0.0, 0.1, 1.0, 0.04],
        [0.0, 0.0, 0.0, 0.03, 1.0],
    ]
)
"""Row: channel; column: dye."""


class Conditions(NamedTuple):
    """How a well was stained and is seen.

    Attributes:
      phenotype: Difference of the well's untreated cells from those of the design.
      gain: Brightness of each channel.
      background: Unspecific light, relative to brightness 1.
      blur_px: Standard deviation of the point spread function.
      shading: Loss of light in the corners, as a share.
      centre: Where the light is brightest, (channel, 2), from -1 to 1 over the field.
    """

    phenotype: Phenotype
    gain: Float[np.ndarray, "5"]
    background: Float[np.ndarray, "5"]
    blur_px: Float[np.ndarray, "5"]
    shading: Float[np.ndarray, "5"]
    centre: Float[np.ndarray, "5 2"]


def well_conditions(design: ScreenDesign, well: Well) -> Conditions:
    """Returns the conditions of a well.

    Args:
      design: Seed, and how much batches, plates and places differ.
      well: Which well.

    Returns:
      The same for every field of the well.
    """
    n, size = len(CHANNELS), design.batch_effect
    batch = np.random.default_rng((SEED_BATCH, design.seed, well.batch_number))
    plate = np.random.default_rng((SEED_PLATE, design.seed, well.plate_number))
    own = np.random.default_rng((SEED_WELL, design.seed, well.plate_number, well.row, well.column))
    position, staining = _position(design, well, slope=plate.normal(0, 1, 2))
    states = [draw_variation(g, f) for g, f in ((batch, 1.0), (plate, 0.5), (own, WELL_SPREAD))]
    gain = batch.normal(0, 0.35, n) + plate.normal(0, 0.15, n) + own.normal(0, 0.05, n)
    # What goes wrong in a well mostly goes wrong in all channels: volumes, and focus.
    gain += own.normal(0, 0.15, 1)
    background = batch.normal(0, 0.5, n) + plate.normal(0, 0.2, n) + own.normal(0, 0.2, 1)
    blur = batch.normal(0, 0.25, n) + plate.normal(0, 0.1, 1) + own.normal(0, 0.15, 1)
    # Where more cells were sown, they are smaller.
    crowding = Phenotype(n_cells=0.2, cell_size=-0.06, nucleus_size=-0.03)
    states.append(scale(crowding, float(own.normal())))
    blur_px = 0.9 * np.exp(size * blur)
    if well.is_faulty:
        blur_px = np.hypot(blur_px, FAULTY_BLUR_PX)
    return Conditions(
        phenotype=add([scale(add(states), size), position]),
        gain=np.exp(size * gain + staining),
        background=0.06 * np.exp(size * background),
        blur_px=blur_px,
        shading=np.clip(0.2 + size * batch.uniform(-0.15, 0.25, n), 0.0, 0.6),
        centre=np.clip(size * batch.uniform(-0.5, 0.5, (n, 2)), -1, 1),
    )


def _position(
    design: ScreenDesign, well: Well, *, slope: Float[np.ndarray, "2"]
) -> tuple[Phenotype, float]:
    """Returns what the place on the plate does to the cells, and to the logarithm of all stains.

    Wells at the rim dry out, which is the same on every plate; and stain is not pipetted evenly,
    in a direction that differs from plate to plate.
    """
    rim_rows, rim_columns = (0, design.n_rows - 1), (0, design.n_columns - 1)
    is_rim = float(well.row in rim_rows or well.column in rim_columns)
    cells = Phenotype(n_cells=-0.2, cell_size=0.04, nucleus_size=-0.03, er_grain=0.06)
    y = well.row / max(1, design.n_rows - 1) - 0.5
    x = well.column / max(1, design.n_columns - 1) - 0.5
    direction = slope / max(1e-9, float(np.linalg.norm(slope)))
    staining = 0.1 * is_rim + 0.25 * float(direction @ np.array([y, x]))
    size = design.position_effect
    return scale(cells, size * is_rim), size * staining


def take_picture(
    rng: np.random.Generator, dye: Float[np.ndarray, "h w 5"], conditions: Conditions
) -> UInt16[np.ndarray, "h w 5"]:
    """Takes a picture of one field.

    Args:
      rng: Draws noise, and dirt.
      dye: From `screen_simulation_stains.stain`.
      conditions: Of the well.

    Returns:
      Grey values of a 16-bit camera.
    """
    height, width = dye.shape[:2]
    y = np.linspace(-1, 1, height)[:, None]
    x = np.linspace(-1, 1, width)[None]
    light = dye @ CROSSTALK.T
    light += _debris(rng, (height, width))[..., None]
    image = np.empty(dye.shape, np.uint16)
    for channel in range(len(CHANNELS)):
        sharp = ndimage.gaussian_filter(light[..., channel], conditions.blur_px[channel])
        # Light from above and below the focal plane: a wide, weak halo.
        haze = ndimage.uniform_filter(ndimage.uniform_filter(sharp, 21), 21)
        seen = 0.9 * sharp + 0.1 * haze + conditions.background[channel]
        y0, x0 = conditions.centre[channel]
        seen *= 1 - conditions.shading[channel] * ((y - y0) ** 2 + (x - x0) ** 2) / 2
        signal = conditions.gain[channel] * np.clip(seen, 0, None)
        # Shot noise of so many photons is all but normal, and faster to draw so.
        noise = np.sqrt(signal * (FULL_SIGNAL**2 / PHOTONS) + READ_NOISE**2)
        grey = OFFSET + FULL_SIGNAL * signal + noise * rng.standard_normal((height, width))
        image[..., channel] = np.clip(np.round(grey), 0, 65535).astype(np.uint16)
    return image


def _debris(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Returns the light of dirt: a few small bright specks in all channels, without a label."""
    specks = np.zeros(shape)
    for _ in range(rng.poisson(0.6 * specks.size / 256**2)):
        y, x = rng.integers(0, shape[0]), rng.integers(0, shape[1])
        specks[y, x] = rng.uniform(5, 40)
    return ndimage.gaussian_filter(specks, 1.5)
