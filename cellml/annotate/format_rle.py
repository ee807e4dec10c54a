"""Run lengths of masks, column by column: as Kaggle's DSB 2018 and as COCO write them.

Runs are (starts, lengths) in an image read down its columns, from 0. They are computed in the
object's own window, so that a small object of a large image costs little.

Source: pycocotools, `maskApi.c` (`rleToString`, `rleFrString`), whose strings these equal.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int64

from cellml.annotate.objects import Polygons
from cellml.annotate.outlines import trace_mask
from cellml.errors import UserError

Runs = tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " n"]]
"""Starts, ascending, and lengths of runs that neither overlap nor touch."""


def mask_runs(
    mask: Bool[np.ndarray, "a b"], corner: tuple[int, int], shape: tuple[int, int]
) -> Runs:
    """Finds the runs of a mask.

    Args:
      mask: A window of the image.
      corner: Row and column of the window's first pixel.
      shape: Height and width of the image.

    Returns:
      The runs; one that ends at the bottom goes on at the top of the next column.
    """
    padded = np.zeros((mask.shape[1], mask.shape[0] + 2), np.int8)
    padded[:, 1:-1] = mask.T
    steps = np.diff(padded, axis=1)
    column, row = np.nonzero(steps == 1)
    starts = (column + corner[1]).astype(np.int64) * shape[0] + row + corner[0]
    column, row = np.nonzero(steps == -1)
    ends = (column + corner[1]).astype(np.int64) * shape[0] + row + corner[0]
    if starts.size:
        apart = starts[1:] != ends[:-1]
        starts = starts[np.concatenate([[True], apart])]
        ends = ends[np.concatenate([apart, [True]])]
    return starts, ends - starts


def outline_runs(runs: Runs, shape: tuple[int, int]) -> Polygons:
    """Outlines what runs cover, along the borders of pixels; runs must lie within the image."""
    starts, lengths = runs
    if not starts.size:
        return ()
    height = shape[0]
    first, last = int(starts.min()) // height, int((starts + lengths).max() - 1) // height
    steps = np.zeros((last - first + 1) * height + 1, np.int32)
    np.add.at(steps, starts - first * height, 1)
    np.add.at(steps, starts + lengths - first * height, -1)
    covered = np.cumsum(steps[:-1]) > 0
    return trace_mask(covered.reshape(-1, height).T, offset=(0, first))


def encode_kaggle(runs: Runs) -> str:
    """Writes `start length` pairs, starts counted from 1."""
    return " ".join(f"{start + 1} {length}" for start, length in zip(*runs, strict=True))


def decode_kaggle(text: str, shape: tuple[int, int], where: str) -> Runs:
    """Reads what `encode_kaggle` gives.

    Args:
      text: Pairs in any order.
      shape: Height and width of the image.
      where: What a message begins with.

    Returns:
      The runs.

    Raises:
      UserError: Not pairs of whole numbers, or a run beyond the image.
    """
    try:
        numbers = np.array([int(word) for word in text.split()], np.int64)
    except (ValueError, OverflowError) as error:
        raise UserError(f"{where}: {text[:40]!r}, pairs of whole numbers expected") from error
    if len(numbers) % 2:
        raise UserError(f"{where}: {len(numbers)} numbers, pairs of start and length expected")
    starts, lengths = numbers[0::2] - 1, numbers[1::2]
    _check(starts, lengths, shape, where)
    return starts, lengths


def encode_counts(runs: Runs, shape: tuple[int, int]) -> list[int]:
    """Lengths of alternating runs of background and object, beginning with background."""
    starts, lengths = runs
    ends = starts + lengths
    gaps = np.diff(starts, prepend=0) if not starts.size else starts - np.append(0, ends[:-1])
    counts = np.stack([gaps, lengths], axis=1).ravel().tolist()
    left = shape[0] * shape[1] - (int(ends[-1]) if ends.size else 0)
    return [*counts, left] if left or not counts else counts


def decode_counts(counts: Sequence[int], shape: tuple[int, int], where: str) -> Runs:
    """Reads what `encode_counts` gives.

    Args:
      counts: Lengths, background first.
      shape: Height and width of the image.
      where: What a message begins with.

    Returns:
      The runs.

    Raises:
      UserError: A negative length, or lengths that do not add up to the image.
    """
    values = np.array(counts, np.int64)
    if (values < 0).any() or int(values.sum()) != shape[0] * shape[1]:
        raise UserError(
            f"{where}: run lengths add up to {int(values.sum())}, "
            f"{shape[0]} x {shape[1]} pixels expected"
        )
    ends = np.cumsum(values)
    starts, lengths = (ends - values)[1::2], values[1::2]
    return starts[lengths > 0], lengths[lengths > 0]


def compress_counts(counts: Sequence[int]) -> str:
    """Packs counts into text as COCO does.

    From the fourth on, a count is the difference to the last but one; 5 bits go into a character,
    the least first, and the sixth bit says that more follow.
    """
    characters = []
    for place, count in enumerate(counts):
        value = count - counts[place - 2] if place > 2 else count
        more = True
        while more:
            bits = value & 31
            value >>= 5  # keeps the sign
            more = value != -1 if bits & 16 else value != 0
            characters.append(chr(48 + (bits | 32 if more else bits)))
    return "".join(characters)


def decompress_counts(text: str, where: str) -> list[int]:
    """Unpacks what `compress_counts` gives; UserError, beginning with `where`, if it is none."""
    counts: list[int] = []
    value, shift = 0, 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 60:
            raise UserError(f"{where}: {character!r} in run lengths, COCO's packed counts expected")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value, shift = 0, 0
    if shift:
        raise UserError(f"{where}: run lengths end in the middle of a number")
    return counts


def _check(starts: np.ndarray, lengths: np.ndarray, shape: tuple[int, int], where: str) -> None:
    size = shape[0] * shape[1]
    bad = (starts < 0) | (lengths < 0) | (lengths > size) | (starts > size - lengths)
    if bad.any():
        start, length = int(starts[bad][0]) + 1, int(lengths[bad][0])
        raise UserError(
            f"{where}: run of {length} pixels from pixel {start} on lies beyond the image of "
            f"{shape[0]} x {shape[1]} pixels"
        )
