"""Chapter of the report on profiles: wells that lie apart, with their images."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Shaped, UInt8
from PIL import Image

from cellml.report.html import Chapter, Figure, Section, Table
from cellml.report.panels import Panel, figure_rows

SHOWN = 20
"""Wells in the table; all are in quality.csv."""
THUMBNAIL_PX = 260
COLOURS = ((0.1, 0.3, 1.0), (0.0, 0.6, 0.15), (0.7, 0.35, 0.0), (0.6, 0.0, 0.4), (0.3, 0.3, 0.0))
COLOUR_NAMES = ("blue", "green", "orange", "magenta", "olive")
HOW = (
    "Every well's distance to all others after a robust sphering, of the features as they were "
    "corrected. Strong treatments lie apart as well as failed wells do: look at the images before "
    "leaving a well out."
)


class FieldToView(NamedTuple):
    """A field of a well that lies apart, or such a well where no fields are known.

    Attributes:
      plate: Its name.
      well: Likewise.
      site: Likewise, maybe empty.
      treatment: Of the well.
      n_cells: Of the well.
      distance: To the other wells; infinite where there are too few cells or features.
      limit: Of the distance; NaN if none could be computed.
      reason: Why it is listed.
      images: One path a channel, from the project's folder.
    """

    plate: str
    well: str
    site: str
    treatment: str
    n_cells: str
    distance: float
    limit: float
    reason: str
    images: tuple[str, ...] = ()


@dataclass(frozen=True)
class QualityControl:
    """What quality control found in one set of features.

    Attributes:
      name: Of the features.
      fields: The farthest first.
      plates: Plate, wells, wells without cells, wells that lie apart, median distance, as texts.
      channels: Names of the images of a field.
      pictures: Title and image, channels last, of a few of the fields.
    """

    name: str
    fields: Sequence[FieldToView]
    plates: Sequence[tuple[str, str, str, str, str]] = ()
    channels: tuple[str, ...] = ()
    pictures: Sequence[tuple[str, Shaped[np.ndarray, "h w c"]]] = ()

    @property
    def done(self) -> bool:
        """Whether distances could be computed on any plate."""
        return any(n_outliers for *_, n_outliers, _ in self.plates)


def by_well(fields: Iterable[FieldToView]) -> dict[tuple[str, str], list[FieldToView]]:
    """The fields of each plate and well, in their order."""
    wells: dict[tuple[str, str], list[FieldToView]] = {}
    for field in fields:
        wells.setdefault((field.plate, field.well), []).append(field)
    return wells


def quality_chapter(found: Sequence[QualityControl]) -> Chapter:
    """The chapter.

    Args:
      found: At least one set of features.

    Returns:
      A section for each.
    """
    return Chapter(
        "Which wells to look at",
        "Quality control: wells that lie apart from all others, and wells without cells.",
        [_section(one, first=k == 0) for k, one in enumerate(found)],
    )


def composite(image: Shaped[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "h2 w2 3"]:
    """All channels of a field as one small picture, each stretched on its own.

    Args:
      image: Any dtype; channels beyond `COLOURS` are left out.

    Returns:
      RGB, no side above `THUMBNAIL_PX`.
    """
    shown: Float[np.ndarray, "h2 w2 3"] | None = None
    for plane, colour in zip(np.moveaxis(image, -1, 0), COLOURS, strict=False):
        values = plane.astype(np.float32)
        low, high = np.percentile(values, (30, 99.8))
        scaled = np.clip((values - low) / max(float(high - low), 1e-6), 0, 1)
        share = min(1.0, THUMBNAIL_PX / max(scaled.shape))
        height, width = (max(1, round(side * share)) for side in scaled.shape)
        small = np.asarray(
            Image.fromarray(scaled).resize((width, height), Image.Resampling.BOX), np.float32
        )
        layer = small[..., None] * np.array(colour, np.float32)
        shown = layer if shown is None else shown + layer
    assert shown is not None  # a field has a channel
    return np.round(np.clip(shown, 0, 1) * 255).astype(np.uint8)


def _section(found: QualityControl, *, first: bool) -> Section:
    blocks: list[Figure | Table] = []
    if found.fields:
        blocks.append(_wells_table(found.fields))
    if found.pictures:
        blocks.append(_pictures(found))
    if len(found.plates) > 1:
        columns = ("plate", "wells", "without cells", "apart", "median distance")
        rows = [[text or "-" for text in line] for line in found.plates[:SHOWN]]
        blocks.append(Table(columns, rows, "The plate with the largest share of outliers first."))
    paragraphs = [_in_words(found)]
    return Section(f"Wells of {found.name}", [HOW, *paragraphs] if first else paragraphs, blocks)


def _in_words(found: QualityControl) -> str:
    wells = by_well(found.fields)
    n_empty = sum(not math.isfinite(some[0].distance) for some in wells.values())
    n_apart = len(wells) - n_empty
    empty = f" {n_empty} without a distance: too few cells, or features." if n_empty else ""
    if not found.done:
        return f"No distances: there are too few wells for them, or no features.{empty}"
    if not n_apart:
        return f"No well lies apart.{empty}"
    limit = next(f.limit for f in found.fields if math.isfinite(f.distance))
    return f"{n_apart} well{'s' * (n_apart > 1)} farther than {limit:.2f}.{empty}"


def _wells_table(fields: Sequence[FieldToView]) -> Table:
    wells = by_well(fields)
    rows = [
        [
            f"{plate} {well}",
            some[0].treatment,
            some[0].n_cells,
            f"{some[0].distance:.2f}" if math.isfinite(some[0].distance) else "-",
            some[0].reason.partition(",")[0],
            str(sum(bool(path) for field in some for path in field.images) or "-"),
        ]
        for (plate, well), some in list(wells.items())[:SHOWN]
    ]
    caption = "The paths of the images, field by field, and all features are in quality.csv."
    if len(wells) > SHOWN:
        caption = f"The first {SHOWN} of {len(wells)}. {caption}"
    return Table(("well", "treatment", "cells", "distance", "why", "images"), rows, caption)


def _pictures(found: QualityControl) -> Figure:
    panels = [Panel(composite(image), title) for title, image in found.pictures]
    named = zip(found.channels, COLOUR_NAMES, strict=False)
    return Figure(
        figure_rows([("", panels)], []),
        "Every channel stretched on its own: "
        + ", ".join(f"{channel} {colour}" for channel, colour in named)
        + ".",
        "The farthest, a field of each",
    )
