"""The dissertation's data preparation: 512 x 512 pieces, and six copies of each made in advance.

Both are views of a source: nothing is stored, item i is computed when it is asked for.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Integer, Shaped
from skimage.transform import resize

SIDE_PX = 512
COPIES = ("identity", "hflip", "vflip", "rot90", "rot180", "rot270")
"""Offline augmentation, as `cellml.tta` names the transforms."""


class SquarePieces(Sequence[Mapping[str, Any]]):
    """Records cut into squares of `side_px`; a smaller image is enlarged until it covers one.

    An image that is not a multiple of the side is covered by pieces that overlap, so no pixel is
    lost. Ids get a suffix `_y<row>_x<column>`.
    """

    def __init__(self, source: Sequence[Mapping[str, Any]], *, side_px: int = SIDE_PX) -> None:
        """Reads every record once for its size."""
        self._source, self._side_px = source, side_px
        self._pieces = [
            (row, y, x)
            for row in range(len(source))
            for y, x in self._corners(np.shape(source[row]["labels"]))
        ]

    def __len__(self) -> int:
        """Number of pieces."""
        return len(self._pieces)

    def __getitem__(self, index: Any) -> dict[str, Any]:
        """The piece `index`: the record with `id`, `image` and `labels` replaced."""
        row, y, x = self._pieces[index]
        record = self._source[row]
        image, labels = enlarge(record["image"], record["labels"], self._side_px)
        cut = np.s_[y : y + self._side_px, x : x + self._side_px]
        name = f"{record['id']}_y{y}_x{x}"
        return {**record, "id": name, "image": image[cut], "labels": labels[cut]}

    def _corners(self, shape: tuple[int, ...]) -> Iterator[tuple[int, int]]:
        height, width = enlarged_shape((shape[0], shape[1]), self._side_px)
        for y in _starts(height, self._side_px):
            for x in _starts(width, self._side_px):
                yield y, x


class SixCopies(Sequence[Mapping[str, Any]]):
    """Each record six times: as it is, mirrored twice, and turned three times (square images)."""

    def __init__(self, source: Sequence[Mapping[str, Any]]) -> None:
        """Wraps the source; it is read only when an item is asked for."""
        self._source = source

    def __len__(self) -> int:
        """Six times the source's length."""
        return len(COPIES) * len(self._source)

    def __getitem__(self, index: Any) -> dict[str, Any]:
        """Copy `index % 6` of record `index // 6`."""
        row, copy = divmod(int(index), len(COPIES))
        record = self._source[row]
        return {
            **record,
            "id": f"{record['id']}_{COPIES[copy]}",
            "image": _copied(np.asarray(record["image"]), copy),
            "labels": _copied(np.asarray(record["labels"]), copy),
        }


def enlarged_shape(shape: tuple[int, int], side_px: int) -> tuple[int, int]:
    """Smallest shape of the same proportions (rounded up) with both sides at least `side_px`."""
    factor = max(1.0, side_px / min(shape))
    height, width = (max(side_px, round(n * factor)) if factor > 1 else n for n in shape)
    return height, width


def enlarge(
    image: Shaped[np.ndarray, "h w c"], labels: Integer[np.ndarray, "h w"], side_px: int
) -> tuple[Shaped[np.ndarray, "h2 w2 c"], Integer[np.ndarray, "h2 w2"]]:
    """Enlarges an image (bilinear) and its labels (nearest).

    Args:
      image: Any real dtype.
      labels: Of the same height and width.
      side_px: Both sides are to be at least as long.
    Returns:
      Both in `enlarged_shape`, with their dtypes.
    """
    shape = enlarged_shape((labels.shape[0], labels.shape[1]), side_px)
    if shape == labels.shape:
        return image, labels
    large = resize(image, shape, order=1, preserve_range=True)
    if np.issubdtype(image.dtype, np.integer):
        large = np.rint(large)
    large_labels = resize(labels, shape, order=0, preserve_range=True, anti_aliasing=False)
    return large.astype(image.dtype), large_labels.astype(labels.dtype)


def _starts(length: int, side_px: int) -> list[int]:
    count = -(-length // side_px)
    return [round(i * (length - side_px) / max(count - 1, 1)) for i in range(count)]


def _copied(array: np.ndarray, copy: int) -> np.ndarray:
    if COPIES[copy] == "hflip":
        return array[:, ::-1]
    if COPIES[copy] == "vflip":
        return array[::-1]
    return np.rot90(array, {"identity": 0, "rot90": 1, "rot180": 2, "rot270": 3}[COPIES[copy]])
