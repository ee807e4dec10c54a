"""Batches for instance segmentation: boxes and masks of the objects, padded to a fixed number."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import scipy.ndimage as ndi
from jaxtyping import Bool, Float, Integer
from skimage.measure import label as connected_components

from cellml.data.augmentation import AugmentationOptions, augment
from cellml.data.batching import Record, central_square, random_batches
from cellml.ops.intensity import intensity_limits, normalise
from cellml.types import Batch

log = logging.getLogger(__name__)

NUCLEUS = 1
"""The only class of nuclei; 0 is background."""


class InstanceRecipe:
    """How a record becomes an example: normalisation, boxes, masks. Picklable.

    An image with more objects than fit keeps a random choice, and a warning says so once.
    """

    def __init__(
        self,
        *,
        max_instances: int,
        mini_mask_px: int,
        percentiles: tuple[float, float] | None = (1.0, 99.8),
        channels: int = 3,
        area_min_px: int = 4,
    ) -> None:
        """Keeps the options.

        Args:
          max_instances: Rows of objects.
          mini_mask_px: Side of the stored masks; 0 stores them in the size of the image.
          percentiles: See `intensity_limits`.
          channels: See `normalise`.
          area_min_px: Smaller objects, as crops leave them at their edges, are no objects.
        """
        self.max_instances, self.mini_mask_px = max_instances, mini_mask_px
        self.percentiles, self.channels = percentiles, channels
        self.area_min_px = area_min_px
        self._warned: set[int] = set()

    def image(self, record: Record) -> np.ndarray:
        """The record's image, normalised: Float[h w c]."""
        limits = intensity_limits(record["image"], self.percentiles)
        return normalise(record["image"], limits, channels=self.channels)

    def example(
        self,
        image: Float[np.ndarray, "h w c"],
        labels: Integer[np.ndarray, "h w"],
        index: int,
        *,
        name: str | None = None,
        rng: np.random.Generator | None = None,
    ) -> dict[str, np.ndarray]:
        """One row of a batch.

        Args:
          image: Normalised.
          labels: Of the same height and width, 0 is background.
          index: Row in the source.
          name: Of the image, for the warning.
          rng: Chooses the objects where they are too many; None keeps the first.
        Returns:
          image; boxes [n 4]; classes [n]; masks [n m m] (uint8); box_valid [n]; valid; index;
          n_left_out, the number of objects without a row.
        """
        boxes, masks = objects(labels, self.mini_mask_px, area_min_px=self.area_min_px)
        found, rows = len(boxes), self.max_instances
        if found > rows:
            if index not in self._warned:
                self._warned.add(index)
                log.warning(
                    "image %s (row %d): %d objects, at most %d are used (settings.max_instances)",
                    name or "?", index, found, rows,
                )  # fmt: skip
            chosen = np.arange(rows) if rng is None else rng.choice(found, rows, replace=False)
            boxes, masks = boxes[chosen], masks[chosen]
        kept = len(boxes)
        return {
            "image": image.astype(np.float32),
            "boxes": np.pad(boxes, ((0, rows - kept), (0, 0))),
            "classes": np.where(np.arange(rows) < kept, NUCLEUS, 0).astype(np.int32),
            "masks": np.pad(masks, ((0, rows - kept), (0, 0), (0, 0))),
            "box_valid": np.arange(rows) < kept,
            "valid": np.asarray(True),
            "index": np.asarray(index, np.int32),
            "n_left_out": np.asarray(found - kept, np.int32),
        }


def objects(
    labels: Integer[np.ndarray, "h w"], mini_mask_px: int, *, area_min_px: int = 1
) -> tuple[Float[np.ndarray, "n 4"], Integer[np.ndarray, "n m1 m2"]]:
    """Boxes and masks of the objects of a label image.

    Args:
      labels: 0 is background.
      mini_mask_px: Side of the masks, see `mini_mask`; 0 gives masks of the whole image.
      area_min_px: Smaller objects are left out.
    Returns:
      Float32 boxes (y0, x0, y1, x1), half-open, and uint8 masks, in the order of the labels.
    """
    boxes, masks = [], []
    for label, box in enumerate(ndi.find_objects(labels), start=1):
        if box is None:
            continue
        mask = labels[box] == label
        if np.count_nonzero(mask) < area_min_px:
            continue
        y, x = box
        boxes.append((y.start, x.start, y.stop, x.stop))
        if mini_mask_px:
            masks.append(mini_mask(mask, mini_mask_px))
        else:
            masks.append((labels == label).astype(np.uint8))
    side = (mini_mask_px, mini_mask_px) if mini_mask_px else labels.shape
    if not boxes:
        return np.zeros((0, 4), np.float32), np.zeros((0, *side), np.uint8)
    return np.array(boxes, np.float32), np.stack(masks)


def mini_mask(mask: Bool[np.ndarray, "h w"], side: int) -> Integer[np.ndarray, "s s"]:
    """An object's mask, cut to its box, resampled to a square.

    Args:
      mask: Within the box.
      side: Of the square.
    Returns:
      uint8, 1 where bilinear interpolation gives at least one half.
    """
    rows, columns = (_resampling(n, side) for n in mask.shape)
    return (rows @ mask.astype(np.float32) @ columns.T >= 0.5 - 1e-6).astype(np.uint8)


def _resampling(length: int, side: int) -> Float[np.ndarray, "s n"]:
    """Bilinear weights from `length` samples to `side`, pixel centres aligned, edges repeated."""
    at = np.clip((np.arange(side) + 0.5) * length / side - 0.5, 0, length - 1)
    low = np.minimum(at.astype(int), max(length - 2, 0))
    share = (at - low).astype(np.float32)
    weights = np.zeros((side, length), np.float32)
    weights[np.arange(side), low] += 1 - share
    weights[np.arange(side), np.minimum(low + 1, length - 1)] += share
    return weights


def instance_training_batches(
    source: Sequence[Record],
    recipe: InstanceRecipe,
    options: AugmentationOptions | None,
    *,
    batch_size: int,
    seed: int,
    modality_weights: Mapping[str, float] | None = None,
) -> Callable[[int], Iterator[Batch]]:
    """Endless batches that can start at any step, as `cellml.data.batching.training_batches`.

    Args:
      source: Records with random access; read by threads.
      recipe: Preprocessing.
      options: Augmentation; None takes the records as they are, which must be of one size.
      batch_size: Examples a batch.
      seed: Of order, augmentation and choice of objects.
      modality_weights: See there.
    Returns:
      `batches(start_step)`, an iterator of host batches.
    """

    def make(index: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        record = source[index]
        image, labels = recipe.image(record), np.asarray(record["labels"], np.int32)
        if options is not None:
            image, labels = augment(rng, image, labels, options)
        return recipe.example(image, labels, index, name=str(record.get("id", "?")), rng=rng)

    return random_batches(
        source, make, batch_size=batch_size, seed=seed, modality_weights=modality_weights
    )


def instance_evaluation_batches(
    source: Sequence[Record], recipe: InstanceRecipe, *, side_px: int, batch_size: int
) -> Iterable[Batch]:
    """Gives every image once, its central square, for the losses during training.

    Args:
      source: Records with random access.
      recipe: Preprocessing.
      side_px: Side of the square, mirrored where the image is smaller.
      batch_size: Examples a batch.
    Returns:
      Host batches in the order of the source; the last one may be smaller.
    """
    for start in range(0, len(source), batch_size):
        rows: list[dict[str, Any]] = []
        for index in range(start, min(start + batch_size, len(source))):
            record = source[index]
            image = central_square(recipe.image(record), side_px)
            whole = np.asarray(record["labels"], np.int32)
            labels = central_square(whole, side_px)
            if min(whole.shape) < side_px:  # a nucleus and its mirror image are two objects
                labels = np.asarray(connected_components(labels, connectivity=2), np.int32)
            name = str(record.get("id", "?"))
            rows.append(recipe.example(image, labels, index, name=name))
        yield {name: np.stack([row[name] for row in rows]) for name in rows[0]}
