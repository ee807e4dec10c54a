"""Molecules drawn by RDKit with a number an atom as colour, as SVG that may stand in a page."""

import re
from collections.abc import Sequence
from typing import Any
from xml.sax.saxutils import escape

from cellml.data.molecule_codes import parse_molecule

WIDTH, DRAWING_HEIGHT, TITLE_HEIGHT, LEGEND_HEIGHT = 360, 270, 46, 46
TITLE_MAX = 46  # characters in one line
LEGEND_STEPS = 41

# Blue and vermillion of Okabe and Ito 2008, which colour-blind readers tell apart.
NEGATIVE, POSITIVE = (0.0, 0.447, 0.698), (0.835, 0.369, 0.0)
Colour = tuple[float, float, float]
"""Red, green and blue in [0, 1]."""


def diverging_colour(share: float) -> Colour:
    """The colour of a number between -1 (blue) and 1 (red), white at 0; beyond, that of the end."""
    share = min(max(share, -1.0), 1.0)
    red, green, blue = POSITIVE if share > 0 else NEGATIVE
    return (
        1 + abs(share) * (red - 1),
        1 + abs(share) * (green - 1),
        1 + abs(share) * (blue - 1),
    )


def draw_values(
    smiles: str,
    values: Sequence[float],
    *,
    limit: float,
    title: str = "",
    subtitle: str = "",
    legend: str = "",
    largest_fragment: bool = False,
) -> str:
    """Draws a molecule with coloured atoms.

    Args:
      smiles: A readable one.
      values: One an atom, in the order of the SMILES (of its largest fragment).
      limit: The value with the full colour, above 0; its negative has the other.
      title: Above the drawing; cut off where it is too long, whole as a tooltip.
      subtitle: Below the title.
      legend: What the values are, below the scale.
      largest_fragment: See `parse_molecule`.

    Returns:
      An SVG element without an XML declaration, which names no outside resource.

    Raises:
      ValueError: The SMILES cannot be read, has another number of atoms, or the limit is not above
        0.
    """
    molecule = parse_molecule(smiles, largest_fragment=largest_fragment).molecule
    if molecule is None or molecule.GetNumAtoms() != len(values) or not limit > 0:
        raise ValueError(
            f"{smiles!r}: a molecule with {len(values)} atoms and a limit above 0 expected, "
            f"found {molecule and molecule.GetNumAtoms()} and {limit}"
        )
    colours = {i: diverging_colour(float(value) / limit) for i, value in enumerate(values)}
    height = TITLE_HEIGHT + DRAWING_HEIGHT + LEGEND_HEIGHT
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" role="img" '
        'font-family="sans-serif" font-size="13" fill="#222222">'
        f"<title>{escape(title)}</title>"
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff" rx="6"/>'
        f'<text x="{WIDTH / 2:g}" y="19" text-anchor="middle" font-weight="bold">'
        f"{escape(_shortened(title))}</text>"
        f'<text x="{WIDTH / 2:g}" y="37" text-anchor="middle">{escape(_shortened(subtitle))}</text>'
        f'<g transform="translate(0 {TITLE_HEIGHT})">{_picture(molecule, colours)}</g>'
        f'<g transform="translate(0 {TITLE_HEIGHT + DRAWING_HEIGHT})">{_scale(limit, legend)}</g>'
        "</svg>"
    )


def _picture(molecule: Any, colours: dict[int, Colour]) -> str:
    """What RDKit draws, without the element around it."""
    from rdkit.Chem.Draw import rdMolDraw2D

    drawer = rdMolDraw2D.MolDraw2DSVG(WIDTH, DRAWING_HEIGHT)
    options = drawer.drawOptions()
    options.useBWAtomPalette()  # colours belong to the values
    options.clearBackground = False
    options.fixedBondLength = 32.0  # small molecules do not fill the picture
    rdMolDraw2D.PrepareAndDrawMolecule(
        drawer,
        molecule,
        highlightAtoms=list(colours),
        highlightAtomColors=colours,
        highlightAtomRadii=dict.fromkeys(colours, 0.38),
        highlightBonds=[],
    )
    drawer.FinishDrawing()
    text = drawer.GetDrawingText()
    inner = re.sub(r"^.*?<svg[^>]*>|</svg>\s*$|<!--.*?-->", "", text, flags=re.DOTALL)
    return inner.strip()


def _scale(limit: float, legend: str) -> str:
    """A bar of all colours with its numbers."""
    left, width = WIDTH * 0.2, WIDTH * 0.6
    step = width / LEGEND_STEPS
    middle = LEGEND_STEPS // 2
    bars = []
    for i in range(LEGEND_STEPS):
        red, green, blue = (round(255 * c) for c in diverging_colour((i - middle) / middle))
        bars.append(
            f'<rect x="{left + i * step:.2f}" y="2" width="{step + 0.3:.2f}" height="10" '
            f'fill="#{red:02x}{green:02x}{blue:02x}"/>'
        )
    numbers = [
        f'<text x="{x:g}" y="12" text-anchor="{anchor}" font-size="11">{text}</text>'
        for x, anchor, text in (
            (left - 5, "end", f"\N{MINUS SIGN}{limit:.3g}"),
            (left + width + 5, "start", f"+{limit:.3g}"),
        )
    ]
    caption = (
        f'<text x="{WIDTH / 2:g}" y="31" text-anchor="middle" font-size="11">'
        f"{escape(_shortened(legend))}</text>"
    )
    return "".join([*bars, *numbers, caption])


def _shortened(text: str) -> str:
    return text if len(text) <= TITLE_MAX else text[: TITLE_MAX - 1] + "\N{HORIZONTAL ELLIPSIS}"
