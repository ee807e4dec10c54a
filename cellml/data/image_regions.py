"""Squares that stand for a whole field of view: DeepProfiler's location mode `full_image`."""

import numpy as np
from jaxtyping import Float

from cellml.errors import UserError

REGIONS = ("cells", "centre", "grid")
"""`cells`: around every location. `centre`: one square in the middle of the field. `grid`: squares
that cover the field, overlapping where they have to; one where the square is as wide as it."""


def region_centres(
    shape: tuple[int, int], *, side_px: int, regions: str, mode: str, where: str
) -> Float[np.ndarray, "n 2"]:
    """Centres of squares that lie wholly within a field of view, row by row.

    Args:
      shape: Height and width of the field, px.
      side_px: Side of a square.
      regions: `centre` or `grid`.
      mode: Of the crops that are to be cut, one of `cellml.data.crops.MODES`: in `exact` a centre
        is the whole pixel that lies at row and column side // 2 of its crop, so that no square
        leaves the field.
      where: The image, for messages.
    Returns:
      float32 (y, x) in pixels, at least one.
    Raises:
      UserError: A square is larger than the field.
    Source: the grid is DeepProfiler's, `ceil(size / side)` squares along an axis, evenly spaced.
    """
    if side_px > min(shape):
        raise UserError(
            f"{where}: {shape[0]} x {shape[1]} px found, at least {side_px} px expected "
            "(dataset.locations.view_size in mode full_image)"
        )
    single = regions == "centre" or side_px == shape[1]
    axes = []
    for size in shape:
        count = 1 if single else -(-size // side_px)
        first = np.linspace(0, size - side_px, count) if count > 1 else [(size - side_px) / 2]
        starts = np.asarray(first, np.float64)
        axes.append(np.floor(starts) + side_px // 2 if mode == "exact" else starts + side_px / 2)
    y, x = np.meshgrid(*axes, indexing="ij")
    return np.stack([y.ravel(), x.ravel()], axis=1).astype(np.float32)
