"""Image panels: pixels as an inlined PNG, outlines of nuclei as vectors over them.

Vector outlines stay sharp at any zoom, and a nucleus says what it is when the pointer rests on it.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from io import BytesIO

import numpy as np
import scipy.ndimage as ndi
from jaxtyping import Float, Int, Shaped, UInt8
from markupsafe import Markup
from PIL import Image
from skimage.measure import approximate_polygon, find_contours

from cellml.report import theme

TOLERANCE_PX = 0.15
"""Outlines are thinned out to fewer corners as long as they stay this close."""


@dataclass(frozen=True)
class Outlines:
    """Outlines of the nuclei of a label image.

    Attributes:
      labels: Label image of the panel's size, 0 is background.
      colour: Of all outlines, as in CSS.
      fills: Colour of the inside of a nucleus by label; the others are not filled.
      notes: What a nucleus says when pointed at, by label.
      fill_opacity: From 0 to 1.
    """

    labels: Int[np.ndarray, "h w"]
    colour: str
    fills: Mapping[int, str] | None = None
    notes: Mapping[int, str] | None = None
    fill_opacity: float = 0.6


@dataclass(frozen=True)
class Panel:
    """One picture of a figure.

    Attributes:
      pixels: RGB.
      title: Shown below.
      outlines: Drawn over the pixels, in this order.
      scale_bar_px: Length of the bar at the lower right, 0 for none.
    """

    pixels: UInt8[np.ndarray, "h w 3"]
    title: str
    outlines: Sequence[Outlines] = ()
    scale_bar_px: int = 0


@dataclass(frozen=True)
class ColourKey:
    """An entry of a legend: a colour, or a colour map with the values at its ends."""

    label: str
    colour: str = ""
    colour_map: str = ""
    low: str = ""
    high: str = ""


def displayed(image: Shaped[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "h w 3"]:
    """An image as a person wants to see it.

    Args:
      image: 8-bit RGB is shown as it is. One channel of any dtype is stretched between its 0.5 and
        99.8 percentiles, with a mild gamma that lifts dim nuclei.
    Returns:
      RGB.
    """
    if image.shape[-1] == 3 and image.dtype == np.uint8:
        return image
    grey = image.astype(np.float32).mean(axis=-1)
    low, high = np.percentile(grey, (0.5, 99.8))
    shown = np.clip((grey - low) / max(float(high - low), 1e-6), 0, 1) ** np.float32(0.75)
    return np.repeat(np.round(shown * 255).astype(np.uint8)[..., None], 3, axis=-1)


def png_uri(pixels: UInt8[np.ndarray, "h w 3"]) -> str:
    """The pixels as a PNG in a `data:` URI."""
    grey = bool((pixels == pixels[..., :1]).all())
    buffer = BytesIO()
    Image.fromarray(pixels[..., 0] if grey else pixels).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def outline_rings(labels: Int[np.ndarray, "h w"]) -> dict[int, list[Float[np.ndarray, "n 2"]]]:
    """Closed outlines of each nucleus, by label.

    Steps of single pixels are rounded off for the eye: outlines follow the mask within a pixel.

    Args:
      labels: Label image, 0 is background.
    Returns:
      Corners (x, y) of one or more rings; the centre of pixel (y, x) is (x + 0.5, y + 0.5).
    """
    rings = {}
    for label, box in enumerate(ndi.find_objects(labels), start=1):
        if box is None:
            continue
        inside = np.pad(labels[box] == label, 3).astype(np.float32)
        smooth = ndi.gaussian_filter(inside, 0.7)
        # What is too thin to survive the smoothing is outlined as it is.
        found = find_contours(smooth, 0.5) or find_contours(inside, 0.5)
        # Three pixels of padding, less the half pixel to a pixel's centre.
        origin = np.array([box[1].start, box[0].start]) - 2.5
        rings[label] = [
            approximate_polygon(ring, TOLERANCE_PX)[:-1, ::-1] + origin for ring in found
        ]
    return rings


def outline_paths(labels: Int[np.ndarray, "h w"]) -> dict[int, str]:
    """`outline_rings` as the `d` of one SVG path for each label."""
    return {
        label: "".join("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in ring) + "Z" for ring in rings)
        for label, rings in outline_rings(labels).items()
    }


def panel_svg(panel: Panel) -> Markup:
    """The panel as an inline SVG element."""
    height, width = panel.pixels.shape[:2]
    parts = [
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(panel.title)}">',
        f'<image width="{width}" height="{height}" href="{png_uri(panel.pixels)}"/>',
        *(_outlines_svg(layer, width) for layer in panel.outlines),
    ]
    if panel.scale_bar_px:
        parts.append(_scale_bar_svg(panel.scale_bar_px, width, height))
    return Markup("".join([*parts, "</svg>"]))


def figure_rows(rows: Sequence[tuple[str, Sequence[Panel]]], keys: Sequence[ColourKey]) -> Markup:
    """Rows of panels with headings and one legend.

    Args:
      rows: Heading (may be empty) and panels of each row.
      keys: The legend.
    Returns:
      HTML for `cellml.report.html.Figure`.
    """
    parts = [legend_html(keys)] if keys else []
    for heading, panels in rows:
        if heading:
            parts.append(Markup('<p class="row-heading">{}</p>').format(heading))
        parts.append(Markup('<div class="panels" style="--columns: {}">').format(len(panels)))
        for panel in panels:
            parts.append(
                Markup('<div class="panel">{}<p class="panel-title">{}</p></div>').format(
                    panel_svg(panel), panel.title
                )
            )
        parts.append(Markup("</div>"))
    return Markup("").join(parts)


def legend_html(keys: Sequence[ColourKey]) -> Markup:
    """The legend of a figure."""
    entries = []
    for key in keys:
        if key.colour_map:
            swatch = Markup(
                '<span class="low">{}</span><span class="bar" style="background: {}"></span>{}'
            ).format(key.low, theme.css_gradient(key.colour_map), key.high)
            entries.append(Markup("<li>{} {}</li>").format(key.label, swatch))
        else:
            entries.append(
                Markup('<li><span class="key" style="background: {}"></span>{}</li>').format(
                    key.colour, key.label
                )
            )
    return Markup('<ul class="legend">{}</ul>').format(Markup("").join(entries))


def _outlines_svg(layer: Outlines, width: int) -> str:
    # A line of about 1.4 CSS pixels in a panel of usual size, whatever the image's size. A dark
    # rim, which keeps it visible on bright ground, comes from the style sheet.
    stroke = 1.4 * width / 280
    parts = [
        f'<g class="outlines" fill="transparent" stroke="{layer.colour}" '
        f'stroke-width="{stroke:.2f}" stroke-linejoin="round">'
    ]
    for label, path in outline_paths(layer.labels).items():
        fill = (layer.fills or {}).get(label)
        inside = f' fill="{fill}" fill-opacity="{layer.fill_opacity:g}"' if fill else ""
        note = (layer.notes or {}).get(label)
        title = f"<title>{escape(note)}</title>" if note else ""
        parts.append(f'<path d="{path}"{inside}>{title}</path>')
    return "".join([*parts, "</g>"])


def _scale_bar_svg(length_px: int, width: int, height: int) -> str:
    unit = width / 256
    x, y = width - length_px - 8 * unit, height - 11 * unit
    return (
        f'<g class="scale-bar"><rect x="{x - 4 * unit:.1f}" y="{y - 14 * unit:.1f}" '
        f'width="{length_px + 8 * unit:.1f}" height="{21 * unit:.1f}" rx="{2 * unit:.1f}" '
        'fill="#000" fill-opacity=".55"/>'
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{length_px}" height="{3 * unit:.1f}" fill="#fff"/>'
        f'<text x="{x + length_px / 2:.1f}" y="{y - 3 * unit:.1f}" font-size="{10 * unit:.1f}" '
        f'text-anchor="middle" fill="#fff">{length_px} px</text></g>'
    )
