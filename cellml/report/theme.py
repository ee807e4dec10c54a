"""Colours of all figures, safe for colour-blind readers (Okabe and Ito 2008), on light and dark."""

import numpy as np
from jaxtyping import Float, Int, UInt8

BLUE, SKY, GREEN = "#0072b2", "#56b4e9", "#009e73"
ORANGE, VERMILLION, YELLOW, PURPLE = "#e69f00", "#d55e00", "#f0e442", "#cc79a7"
GREY = "#8b8f94"

TRUTH, PREDICTION = SKY, ORANGE
"""Outlines keep these colours in every figure."""

PROBABILITY_MAP, UNCERTAINTY_MAP, VOTE_MAP = "viridis", "inferno", "plasma"
"""Matplotlib colour maps, each kept for one quantity."""

INK = "#010203"
"""Stands for the page's text colour in charts; replaced by `currentColor`."""


def paint(
    values: Float[np.ndarray, "h w"], colour_map: str, *, low: float = 0.0, high: float = 1.0
) -> UInt8[np.ndarray, "h w 3"]:
    """Colours a map of numbers.

    Args:
      values: The numbers.
      colour_map: A name that Matplotlib knows.
      low: Value with the first colour; values below have it too.
      high: Value with the last colour, likewise.
    Returns:
      RGB.
    """
    from matplotlib import colormaps

    share = np.clip((values - low) / max(high - low, 1e-12), 0.0, 1.0)
    return np.asarray(colormaps[colour_map](share, bytes=True))[..., :3]


def label_picture(labels: Int[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
    """A label image in colours that differ much between neighbouring labels, on black.

    Args:
      labels: Label image, 0 is background.
    Returns:
      RGB.
    """
    from matplotlib.colors import hsv_to_rgb

    number = np.arange(int(labels.max(initial=0)) + 1)
    # Hues at the golden ratio lie far apart; brightness varies for those who see few hues.
    hue, value = number * 0.6180339887 % 1, 0.62 + 0.19 * (number % 3)
    colours = hsv_to_rgb(np.stack([hue, np.full(len(number), 0.55), value], axis=-1))
    colours[0] = 0
    return np.round(colours * 255).astype(np.uint8)[labels]


def hex_colour(colour_map: str, share: float) -> str:
    """The colour at a share in [0, 1] of a colour map, as `#rrggbb`."""
    red, green, blue = paint(np.full((1, 1), share), colour_map)[0, 0]
    return f"#{red:02x}{green:02x}{blue:02x}"


def css_gradient(colour_map: str, *, stops: int = 9) -> str:
    """A CSS gradient from left to right that looks like the colour map.

    Args:
      colour_map: A name that Matplotlib knows.
      stops: Colours given.
    Returns:
      The value of a `background` property.
    """
    colours = [hex_colour(colour_map, i / (stops - 1)) for i in range(stops)]
    return f"linear-gradient(to right, {', '.join(colours)})"
