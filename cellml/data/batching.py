"""Batches for segmentation: random access by step through grain, so resuming is exact.

A batch depends on the seed and its step alone, never on what was read before.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import grain.python as grain
import numpy as np

from cellml.data.augmentation import AugmentationOptions, augment
from cellml.ops.instance_maps import HEADS, training_maps
from cellml.ops.intensity import intensity_limits, normalise
from cellml.types import Batch

Record = Mapping[str, Any]
"""`image` [h, w, c] of any dtype, `labels` [h, w], `modality`."""


class MapRecipe:
    """How a record becomes an example: normalisation, heads, channels. Picklable."""

    def __init__(
        self,
        *,
        heads: Sequence[str] = HEADS,
        percentiles: tuple[float, float] = (1.0, 99.8),
        channels: int = 3,
        weighted: bool = True,
    ) -> None:
        """Keeps the options.

        Args:
          heads: See `training_maps`.
          percentiles: See `intensity_limits`.
          channels: See `normalise`.
          weighted: Use the pixel weights of `training_maps`; False gives every pixel 1.
        """
        self.heads, self.percentiles, self.channels = tuple(heads), percentiles, channels
        self.weighted = weighted

    def image(self, record: Record) -> np.ndarray:
        """The record's image, normalised: Float[h w c]."""
        limits = intensity_limits(record["image"], self.percentiles)
        return normalise(record["image"], limits, channels=self.channels)

    def example(self, image: np.ndarray, labels: np.ndarray, index: int) -> dict[str, np.ndarray]:
        """One row of a batch, as in `cellml.types.Batch`."""
        target, weight = training_maps(labels, self.heads)
        if not self.weighted:
            weight = np.ones_like(weight)
        return {
            "image": image.astype(np.float32),
            "target": target,
            "weight": weight,
            "valid": np.asarray(True),
            "index": np.asarray(index, np.int32),
        }


def training_batches(
    source: Sequence[Record],
    recipe: MapRecipe,
    options: AugmentationOptions,
    *,
    batch_size: int,
    seed: int,
    modality_weights: Mapping[str, float] | None = None,
) -> Callable[[int], Iterator[Batch]]:
    """Endless augmented batches that can start at any step.

    Each modality is shuffled anew every time it has been seen whole; the modalities are mixed by
    their weights.

    Args:
      source: Records with random access; read by threads.
      recipe: Preprocessing.
      options: Augmentation.
      batch_size: Examples a batch.
      seed: Of order and augmentation.
      modality_weights: Shares of the modalities, any scale; None takes images as they come.
    Returns:
      `batches(start_step)`, an iterator of host batches.
    Raises:
      ValueError: The source is empty, or a modality with a weight has no image.
    """

    def make(index: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        record = source[index]
        labels = np.asarray(record["labels"], np.int32)
        image, labels = augment(rng, recipe.image(record), labels, options)
        return recipe.example(image, labels, index)

    return random_batches(
        source, make, batch_size=batch_size, seed=seed, modality_weights=modality_weights
    )


def random_batches(
    source: Sequence[Record],
    make: Callable[[int, np.random.Generator], dict[str, np.ndarray]],
    *,
    batch_size: int,
    seed: int,
    modality_weights: Mapping[str, float] | None = None,
) -> Callable[[int], Iterator[Batch]]:
    """Endless batches of what `make` gives for rows in random order; arguments as above.

    Args:
      source: Records, read here for their modality only.
      make: `(row, random generator) -> example`, called by threads.
      batch_size: Examples a batch.
      seed: Of order and examples.
      modality_weights: As in `training_batches`.
    Returns:
      `batches(start_step)`, an iterator of host batches.
    Raises:
      ValueError: The source is empty, or a modality with a weight has no image.
    """
    if not len(source):
        raise ValueError("training data: found no image")
    rows: dict[str, list[int]] = {}
    for i in range(len(source)):
        name = str(source[i]["modality"]) if modality_weights else "all"
        rows.setdefault(name, []).append(i)
    weights = {k: v for k, v in (modality_weights or {"all": 1.0}).items() if v > 0}
    if missing := sorted(set(weights) - set(rows)):
        raise ValueError(f"modality_weights: no image of {missing}; found {sorted(rows)}")
    parts = [
        grain.MapDataset.source(rows[name]).seed(seed + k).shuffle().repeat()
        for k, name in enumerate(weights)
    ]
    mixed = grain.MapDataset.mix(parts, weights=list(weights.values()))
    batched = mixed.seed(seed).random_map(make).batch(batch_size, drop_remainder=True)

    def batches(start_step: int) -> Iterator[Batch]:
        read = grain.ReadOptions(num_threads=2, prefetch_buffer_size=4)
        return iter(batched[start_step:].to_iter_dataset(read))

    return batches


def evaluation_batches(
    source: Sequence[Record], recipe: MapRecipe, *, side_px: int, batch_size: int
) -> Iterable[Batch]:
    """Gives every image once, its central square (mirrored where the image is smaller).

    For losses and pixel metrics during training; instances are scored on whole images by the
    evaluation command.

    Args:
      source: Records with random access.
      recipe: Preprocessing.
      side_px: Side of the square.
      batch_size: Examples a batch.
    Returns:
      Host batches in the order of the source; the last one may be smaller.
    """
    for start in range(0, len(source), batch_size):
        rows = []
        for index in range(start, min(start + batch_size, len(source))):
            record = source[index]
            image = central_square(recipe.image(record), side_px)
            labels = central_square(np.asarray(record["labels"], np.int32), side_px)
            rows.append(recipe.example(image, labels, index))
        yield {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def central_square(image: np.ndarray, side_px: int) -> np.ndarray:
    """Cuts or mirrors the first two axes to `side_px`, around the centre."""
    pads = [max(0, side_px - n) for n in image.shape[:2]]
    widths = [(p // 2, p - p // 2) for p in pads] + [(0, 0)] * (image.ndim - 2)
    image = np.pad(image, widths, mode="symmetric")
    y, x = ((n - side_px) // 2 for n in image.shape[:2])
    return image[y : y + side_px, x : x + side_px]
