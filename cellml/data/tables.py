"""The table of nuclei: sums per object that add up over tiles, and the rows made from them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float, Int, Shaped

COLUMNS = (
    "image",
    "label",
    "centroid_y_px",
    "centroid_x_px",
    "area_px",
    "equivalent_diameter_px",
    "touches_border",
    "mean_probability",
    "vote_share",
)
OBJECT_COLUMNS = ("vote_share", "mean_jaccard_distance")
"""What a merge of objects says of each, in the order of `ObjectSums.objects`.

Share of the TTA versions in which the object is present; and 1 - IoU, averaged over all pairs of
its masks in those versions: 0 where they agree to the pixel, or where there is one mask only.
"""


class ObjectSums(NamedTuple):
    """Sums over the pixels of n objects; those of two parts of an object add up to the whole's.

    Row i is the object of label i + 1. `votes` has one column a transform, none without TTA;
    `objects` has those of `OBJECT_COLUMNS`, weighted by area, or none where no objects were merged.
    """

    area: Int[np.ndarray, " n"]
    y: Float[np.ndarray, " n"]
    x: Float[np.ndarray, " n"]
    intensity: Float[np.ndarray, "n c"]
    probability: Float[np.ndarray, " n"]
    votes: Int[np.ndarray, "n t"]
    border: Int[np.ndarray, " n"]
    objects: Float[np.ndarray, "n q"]


def object_sums(
    labels: Int[np.ndarray, "h w"],
    pixels: Shaped[np.ndarray, "h w c"],
    probability: Float[np.ndarray, "h w"],
    votes: Bool[np.ndarray, "t h w"],
    *,
    count: int,
    origin: tuple[int, int],
    image_shape: tuple[int, int],
    objects: Float[np.ndarray, "m q"] | None = None,
) -> ObjectSums:
    """Sums what the table needs over the objects of one part of an image.

    Args:
      labels: Labels in 0..count, 0 is background. An absent label gives a row of zeros.
      pixels: The part as it was read, in the file's units.
      probability: Foreground probability.
      votes: Foreground mask of every transform; t = 0 without TTA.
      count: Number of rows.
      origin: Row and column of the part's first pixel in the image.
      image_shape: Height and width of the whole image, to tell who touches its border.
      objects: `OBJECT_COLUMNS` of labels 1..m, at least `count` rows, if there was such a merge.

    Returns:
      `count` rows of sums.

    Raises:
      ValueError: A label lies above `count`, or `objects` has fewer rows.
    """
    y, x = np.nonzero(labels)
    index = labels[y, x] - 1
    if index.size and int(index.max()) >= count:
        raise ValueError(f"label {int(index.max()) + 1} found, expected at most {count}")
    values = np.zeros((count, 0)) if objects is None else objects[:count].astype(np.float64)
    if len(values) < count:
        raise ValueError(f"objects has {len(values)} rows, expected at least {count}")
    channels, transforms = pixels.shape[2], votes.shape[0]

    def total(weights: np.ndarray | None = None) -> np.ndarray:
        return np.bincount(index, weights=weights, minlength=count)

    rows, columns = y + origin[0], x + origin[1]
    edge = (rows == 0) | (columns == 0)
    edge |= (rows == image_shape[0] - 1) | (columns == image_shape[1] - 1)
    intensity = np.zeros((count, channels))
    for c in range(channels):
        intensity[:, c] = total(pixels[y, x, c].astype(np.float64))
    counted = np.zeros((count, transforms), np.int64)
    for t in range(transforms):
        counted[:, t] = total(votes[t, y, x].astype(np.float64)).astype(np.int64)
    area = total().astype(np.int64)
    return ObjectSums(
        area=area,
        y=total(rows.astype(np.float64)),
        x=total(columns.astype(np.float64)),
        intensity=intensity,
        probability=total(probability[y, x].astype(np.float64)),
        votes=counted,
        border=total(edge.astype(np.float64)).astype(np.int64),
        objects=values * area[:, None],
    )


def merge_sums(parts: Sequence[ObjectSums], lookup: Int[np.ndarray, " m"]) -> ObjectSums:
    """Adds up the parts of objects that were seen in several tiles.

    Args:
      parts: Sums per tile; their rows, one tile after the other, are provisional labels 1, 2, ...
      lookup: Final label of every provisional label; entry 0 belongs to the background, and
        objects sent to 0 are dropped.

    Returns:
      Rows of the final labels 1..max(lookup).

    Raises:
      ValueError: `lookup` does not have one entry a row and one for the background.
    """
    rows = sum(len(part.area) for part in parts)
    if lookup.shape != (rows + 1,):
        raise ValueError(f"lookup has {len(lookup)} entries, expected {rows + 1}")
    target, count = lookup[1:], int(lookup.max())
    merged = []
    for field in zip(*parts, strict=True):
        values = np.concatenate(field)
        out = np.zeros((count + 1, *values.shape[1:]), values.dtype)
        np.add.at(out, target, values)
        merged.append(out[1:])
    return ObjectSums(*merged)


def table_schema(channels: int, *, merged_objects: bool = False) -> pa.Schema:
    """Columns of a table of nuclei.

    Coordinates are pixel centres from the top-left pixel's (0, 0); intensities are in the file's
    units; `vote_share` is the share of TTA transforms whose own foreground (probability above
    one half) covers most of the object, missing without TTA. Where TTA merged objects it is their
    share as in `OBJECT_COLUMNS`, and the other columns listed there follow.

    Args:
      channels: The images have at most so many channels.
      merged_objects: Whether TTA merged objects.

    Returns:
      Names and types.
    """
    kinds = {
        "image": pa.string(),
        "label": pa.int64(),
        "area_px": pa.int64(),
        "touches_border": pa.bool_(),
    }
    names = [*COLUMNS, *(OBJECT_COLUMNS[1:] if merged_objects else ())]
    names += [f"mean_intensity_{c + 1}" for c in range(channels)]
    return pa.schema([(name, kinds.get(name, pa.float64())) for name in names])


def nuclei_table(image: str, sums: ObjectSums) -> pa.Table:
    """Makes one row a nucleus.

    Args:
      image: Name that goes into the column `image`.
      sums: Sums of labels 1..n, none of them empty.

    Returns:
      Table with `table_schema(channels)`; an object cut by tiles has the mean over its parts,
      weighted by area, of what was found for objects as a whole.

    Raises:
      ValueError: A label has no pixel.
    """
    area = sums.area
    if (area == 0).any():
        raise ValueError(f"{image}: label {int(np.argmin(area)) + 1} has no pixel")
    transforms = sums.votes.shape[1]
    if transforms:
        share = (2 * sums.votes > area[:, None]).mean(axis=1)
        votes = pa.array(share, pa.float64())
    else:
        votes = pa.nulls(len(area), pa.float64())
    values = {
        "image": pa.array([image] * len(area), pa.string()),
        "label": np.arange(1, len(area) + 1),
        "centroid_y_px": sums.y / area,
        "centroid_x_px": sums.x / area,
        "area_px": area,
        "equivalent_diameter_px": np.sqrt(4 * area / np.pi),
        "touches_border": sums.border > 0,
        "mean_probability": sums.probability / area,
        "vote_share": votes,
    }
    merged = sums.objects.shape[1] > 0
    if merged:
        means = sums.objects / area[:, None]
        values |= {name: means[:, i] for i, name in enumerate(OBJECT_COLUMNS)}
    channels = sums.intensity.shape[1]
    for c in range(channels):
        values[f"mean_intensity_{c + 1}"] = sums.intensity[:, c] / area
    return pa.table(values, schema=table_schema(channels, merged_objects=merged))
