"""Finds images that show the same field, so that a split can keep them on one side.

Three kinds of relation are looked for, and groups are the connected components of all of them:

* *the same picture*: up to the eight symmetries of the square, size and an affine change of
  intensity (32 x 32 thumbnails, verified at 128 x 128);
* *overlapping crops* of one field (phase correlation of thumbnails, verified by the correlation of
  the overlapping parts at full resolution);
* *adjacent tiles*: crops that were cut side by side out of one field, without an overlap. The last
  row of the one then continues into the first row of the other exactly as neighbouring rows within
  an image do.

What is missed: overlapping crops or adjacent tiles that were rotated, mirrored or rescaled against
one another, overlaps of less than 10 % of the area, tiles with a gap between them, tiles whose
common edge shows nothing but background, and different fields of one specimen (the slices of a
z-stack, say).

In the 566 images of DSB2018 stage 1 that this was tuned on, nearly every relation is of the third
kind: 256 x 256, 256 x 320, 360 x 360 and 520 x 696 images are 2 x 2 (or more) tiles of larger
fields, 348 adjacent pairs, against one overlapping pair and one pair of nearly equal z-slices. They
form 266 groups: 137 single images, 42 pairs, 37 triples, 42 fours (2 x 2), 8 of 6 to 11. The
overlap, the pair of slices, the 45 weakest adjacent pairs and 30 of the others were looked at: none
was wrong. A split by image would test on the neighbourhood of what was trained on.
One such set takes about 20 s on one core.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int, Num
from scipy import fft, ndimage

Image = Num[np.ndarray, "_ _"] | Num[np.ndarray, "_ _ _"]
Grey = Float[np.ndarray, "_ _"]


@runtime_checkable
class Images(Protocol):
    """Images by row; a lazy reader will do, each is read twice or a few times more."""

    def __getitem__(self, index: int, /) -> Image:
        """Returns image `index`."""
        ...

    def __len__(self) -> int:
        """Returns the number of images."""
        ...


class Thresholds(NamedTuple):
    """What counts as the same field.

    Attributes:
      thumbnail: Smallest correlation of 32 x 32 thumbnails of the same picture.
      picture: Smallest correlation of the same picture at 128 x 128.
      candidate: Smallest correlation of the overlap of two thumbnails that is verified.
      overlap: Smallest mean correlation of the blocks of an overlap at full resolution.
      overlap_blocks: Fewest blocks with content; one nucleus lying on another proves nothing.
      overlap_fraction: Smallest share of the image's area that an overlap covers.
      edge: Smallest correlation of two touching border lines.
      edge_ratio: Largest RMS difference of two touching border lines, in units of the RMS
        difference of neighbouring lines within the two images.
      edge_weak, edge_ratio_weak: As `edge` and `edge_ratio`, for dim borders: a lower correlation
        with a stricter ratio.
      edge_std: Smallest standard deviation along a border line in units of the image's grey range
        / 255; below it a border is background and says nothing.
    """

    thumbnail: float = 0.9
    picture: float = 0.93
    candidate: float = 0.6
    overlap: float = 0.9
    overlap_blocks: int = 6
    overlap_fraction: float = 0.1
    edge: float = 0.95
    edge_ratio: float = 1.5
    edge_weak: float = 0.85
    edge_ratio_weak: float = 1.2
    edge_std: float = 1.5


DEFAULT = Thresholds()


class Relation(NamedTuple):
    """Two images of one field.

    Attributes:
      first, second: Rows of the images, first < second for 'picture' and 'overlap'; for 'below'
        the second lies below the first, for 'right' to the right of it.
      kind: 'picture', 'overlap', 'below' or 'right'.
      score: Correlation that decided.
    """

    first: int
    second: int
    kind: str
    score: float


def near_duplicate_groups(
    images: Images, ids: Sequence[str], *, thresholds: Thresholds = DEFAULT
) -> dict[str, str]:
    """Groups images that show the same field.

    Args:
      images: One image per id, (h, w) or (h, w, c), any real dtype.
      ids: Unique names.
      thresholds: What counts as the same field.

    Returns:
      For each id the smallest id of its group; an image without relations is its own group. The
      result depends on the set of (id, image), not on the order.

    Raises:
      ValueError: An id occurs twice, or the numbers of ids and images differ.
    """
    if len(ids) != len(images):
        raise ValueError(f"got {len(images)} images and {len(ids)} ids")
    if len(set(ids)) != len(ids):
        raise ValueError(f"ids must be unique, but {_first_repeated(ids)!r} occurs twice")
    order = sorted(range(len(ids)), key=lambda row: ids[row])
    parent = list(range(len(order)))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    for relation in find_relations(_Reordered(images, order), thresholds=thresholds):
        low, high = sorted((root(relation.first), root(relation.second)))
        parent[high] = low
    return {ids[order[row]]: ids[order[root(row)]] for row in range(len(order))}


def find_relations(images: Images, *, thresholds: Thresholds = DEFAULT) -> list[Relation]:
    """Lists the pairs of images that show the same field; see the module's docstring."""
    summaries = [_summarise(images[row]) for row in range(len(images))]

    @lru_cache(maxsize=64)
    def grey(row: int) -> Grey:
        return _grey(images[row])

    relations = list(_same_pictures(summaries, grey, thresholds))
    buckets: dict[tuple[int, ...], list[int]] = {}
    for row, summary in enumerate(summaries):
        buckets.setdefault(summary.shape, []).append(row)
    for rows in buckets.values():
        relations += _overlapping_crops(rows, summaries, grey, thresholds)
        relations += _adjacent_tiles(rows, summaries, thresholds)
    return relations


class _Reordered:
    def __init__(self, images: Images, order: Sequence[int]):
        self._images, self._order = images, order

    def __getitem__(self, index: int, /) -> Image:
        return self._images[self._order[index]]

    def __len__(self) -> int:
        return len(self._order)


class _Summary(NamedTuple):
    """What is kept of an image; `borders` are the first, second, last but one and last line."""

    shape: tuple[int, ...]
    step: int
    coarse: Grey
    tiny: Grey
    borders: tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]


def _first_repeated(ids: Sequence[str]) -> str:
    seen: set[str] = set()
    return next(name for name in ids if name in seen or seen.add(name))


def _grey(image: Image) -> Grey:
    """Returns the luminance in units of 1/255 of the dtype's usual range."""
    grey = np.asarray(image)
    if grey.ndim == 3:
        grey = grey[..., : 3 if grey.shape[-1] >= 3 else 1].mean(-1)
    grey = grey.astype(np.float32)
    if image.dtype == np.uint16:
        grey = grey / np.float32(257)
    return np.nan_to_num(grey)


def _downsample(image: Grey, step: int) -> Grey:
    h, w = (size // step * step for size in image.shape)
    return image[:h, :w].reshape(h // step, step, w // step, step).mean((1, 3))


def _resize(image: Grey, size: int) -> Grey:
    """Averages down to about `size`, then interpolates to exactly (size, size)."""
    image = _downsample(image, max(1, min(image.shape) // (2 * size)))
    zoom = [size / length for length in image.shape]
    return ndimage.zoom(image, zoom, order=1, grid_mode=True, mode="nearest")


def _summarise(image: Image) -> _Summary:
    grey = _grey(image)
    step = max(1, round(min(grey.shape) / 64))
    coarse = _downsample(grey, step)
    low, high = np.percentile(coarse, (1, 99.5))
    coarse = np.clip((coarse - low) / max(high - low, 1e-3), -0.2, 1.5).astype(np.float32)
    lines = tuple(
        tuple(array[index].copy() for index in (0, min(1, len(array) - 1), -min(2, len(array)), -1))
        for array in (grey, grey.T)
    )
    return _Summary(np.shape(image), step, coarse, _resize(grey, 32), (lines[0], lines[1]))


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - a.mean(), b - b.mean()
    norm = np.sqrt(float((a * a).sum()) * float((b * b).sum()))
    return float((a * b).sum()) / norm if norm > 1e-6 * a.size else 0.0


def _symmetries(image: Grey) -> Iterator[Grey]:
    for flipped in (image, image.T):
        for turns in range(4):
            yield np.rot90(flipped, turns)


def _unit_rows(rows: np.ndarray) -> np.ndarray:
    """Centres each row and scales it to length one; constant rows become zero."""
    centred = rows - rows.mean(1, keepdims=True)
    norm = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.where(norm > 1e-3, centred / np.maximum(norm, 1e-3), 0).astype(np.float32)


def _same_pictures(summaries, grey, thresholds: Thresholds) -> Iterator[Relation]:
    if not summaries:
        return
    tiny = _unit_rows(np.stack([summary.tiny.ravel() for summary in summaries]))
    for symmetry in range(8):
        turned = np.stack(
            [list(_symmetries(row.reshape(32, 32)))[symmetry].ravel() for row in tiny]
        )
        for first, second in np.argwhere(np.triu(tiny @ turned.T, 1) >= thresholds.thumbnail):
            one = _resize(grey(int(first)), 128)
            other = list(_symmetries(_resize(grey(int(second)), 128)))[symmetry]
            score = _correlation(one, other)
            if score >= thresholds.picture:
                yield Relation(int(first), int(second), "picture", score)


def _overlap(one: Grey, other: Grey, dy: int, dx: int) -> tuple[Grey, Grey]:
    """Cuts the common part where pixel (y, x) of `other` is (y + dy, x + dx) of `one`."""
    h, w = one.shape
    y0, y1, x0, x1 = max(0, dy), min(h, h + dy), max(0, dx), min(w, w + dx)
    return one[y0:y1, x0:x1], other[y0 - dy : y1 - dy, x0 - dx : x1 - dx]


def _phase_correlation(one, other, shape) -> np.ndarray:
    product = one * np.conj(other)
    # A power of 0.7 (1 would be pure phase) keeps the noise of empty bands down.
    product /= np.maximum(np.abs(product) ** 0.7, 1e-6)
    return fft.irfft2(product, shape, axes=(-2, -1))


def _signed(index: int, shape: tuple[int, int]) -> tuple[int, int]:
    dy, dx = divmod(index, shape[1])
    return dy - shape[0] * (dy > shape[0] // 2), dx - shape[1] * (dx > shape[1] // 2)


def _overlapping_crops(rows, summaries, grey, thresholds: Thresholds) -> Iterator[Relation]:
    """Phase correlation within images of one size, verified at full resolution."""
    if len(rows) < 2:
        return
    h, w = summaries[rows[0]].coarse.shape
    step = summaries[rows[0]].step
    padded = fft.next_fast_len(2 * h, True), fft.next_fast_len(2 * w, True)
    window = np.outer(np.hanning(h + 2)[1:-1], np.hanning(w + 2)[1:-1]) ** 0.25
    coarse = [summaries[row].coarse for row in rows]
    high = [image - ndimage.gaussian_filter(image, 6) for image in coarse]
    spectra = np.stack(
        [fft.rfft2((image - image.mean()) * window, padded).astype(np.complex64) for image in high]
    )
    for a in range(len(rows) - 1):
        surfaces = _phase_correlation(spectra[a], spectra[a + 1 :], padded)
        surfaces = surfaces.reshape(len(surfaces), -1)
        peaks = np.sort(np.argpartition(-surfaces, 3, axis=1)[:, :4], axis=1)
        for b in range(a + 1, len(rows)):
            offsets = (_signed(int(peak), padded) for peak in peaks[b - a - 1])
            score = max(
                _verified_overlap(
                    (coarse[a], coarse[b]), (rows[a], rows[b]), offset, step, grey, thresholds
                )
                for offset in offsets
            )
            if score >= thresholds.overlap:
                yield Relation(rows[a], rows[b], "overlap", score)


def _verified_overlap(coarse, rows, offset, step, grey, thresholds: Thresholds) -> float:
    """Returns the full-resolution correlation of an overlap, 0 where the thumbnails disagree."""
    dy, dx = offset
    h, w = coarse[0].shape
    if (h - abs(dy)) * (w - abs(dx)) < thresholds.overlap_fraction * h * w or abs(dy) >= h:
        return 0.0
    if _correlation(*_overlap(coarse[0], coarse[1], dy, dx)) < thresholds.candidate:
        return 0.0
    one, other = _overlap(grey(rows[0]), grey(rows[1]), dy * step, dx * step)
    high = [part - ndimage.gaussian_filter(part, 16) for part in (one, other)]
    shape = (
        fft.next_fast_len(one.shape[0] + 2 * step, True),
        fft.next_fast_len(one.shape[1] + 2 * step, True),
    )
    surface = _phase_correlation(fft.rfft2(high[0], shape), fft.rfft2(high[1], shape), shape)
    fine_dy, fine_dx = _signed(int(surface.argmax()), shape)
    if abs(fine_dy) > 2 * step or abs(fine_dx) > 2 * step:
        return 0.0
    one, other = _overlap(one, other, fine_dy, fine_dx)
    return _block_correlation(one, other, size=8 * step, min_blocks=thresholds.overlap_blocks)


def _block_correlation(one: Grey, other: Grey, *, size: int, min_blocks: int) -> float:
    """Returns the mean correlation of the blocks in which either image shows something.

    A correlation of the whole would be decided by one bright nucleus that happens to lie on
    another; here what only one of the images shows counts against it.
    """
    if min(one.shape) < size:
        return 0.0
    blocks, content = [], []
    for image in (one, other):
        image = ndimage.gaussian_filter(image, 1)
        n, m = image.shape[0] // size, image.shape[1] // size
        tiled = image[: n * size, : m * size].reshape(n, size, m, size).swapaxes(1, 2)
        blocks.append(tiled.reshape(n * m, size * size))
        low, high = np.percentile(image, (1, 99.5))
        content.append(blocks[-1].std(1) > 0.02 * (high - low))
    shown = content[0] | content[1]
    if shown.sum() < min_blocks:
        return 0.0
    score = (_unit_rows(blocks[0]) * _unit_rows(blocks[1])).sum(1)
    return float(score[shown].mean())


def _adjacent_tiles(rows, summaries, thresholds: Thresholds) -> Iterator[Relation]:
    """Compares last with first border lines within images of one size.

    Only pairs that are each other's best continuation count: a tile has one neighbour on a side.
    """
    if len(rows) < 2:
        return
    for axis, kind in enumerate(("below", "right")):
        first, second, last_but_one, last = (
            np.stack([summaries[row].borders[axis][line] for row in rows]) for line in range(4)
        )
        steps = [
            np.sqrt(np.mean((x - y) ** 2, 1)) for x, y in ((last, last_but_one), (first, second))
        ]
        squares = (last**2).mean(1)[:, None] + (first**2).mean(1)[None]
        difference = squares - 2 * (last.astype(float) @ first.T.astype(float)) / first.shape[1]
        own = np.maximum((steps[0][:, None] + steps[1][None]) / 2, 0.3)
        ratio = np.sqrt(np.maximum(difference, 0)) / own
        score = _unit_rows(last) @ _unit_rows(first).T
        score[np.minimum(last.std(1)[:, None], first.std(1)[None]) < thresholds.edge_std] = -1
        np.fill_diagonal(score, -1)
        best = (score == score.max(1, keepdims=True)) & (score == score.max(0, keepdims=True))
        strong = (score >= thresholds.edge) & (ratio <= thresholds.edge_ratio)
        weak = (score >= thresholds.edge_weak) & (ratio <= thresholds.edge_ratio_weak)
        for a, b in np.argwhere(best & (strong | weak)):
            yield Relation(rows[a], rows[b], kind, float(score[a, b]))


def group_sizes(groups: Mapping[str, str]) -> Int[np.ndarray, " g"]:
    """Returns the sizes of the groups, largest first."""
    _, counts = np.unique(list(groups.values()), return_counts=True)
    return np.sort(counts)[::-1]
