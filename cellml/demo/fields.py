"""The images of the tour: simulated fields with truth, and the tissue that scikit-image ships."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int, Shaped

from cellml.datasets import load_source

MODALITIES = {"fluorescence": "Fluorescence", "tissue": "Tissue (H&E)"}
"""Modalities of the simulated fields and their names in figures."""


@dataclass(frozen=True)
class Field:
    """One image.

    Attributes:
      name: Used in file names.
      group: Heading under which its scores are averaged.
      image: Raw pixels.
      truth: True labels, None where nobody knows them.
    """

    name: str
    group: str
    image: Shaped[np.ndarray, "h w c"]
    truth: Int[np.ndarray, "h w"] | None = None


def simulated_sizes(training: int, test_fields: int) -> tuple[int, int, int]:
    """Fields in the splits of the simulated data set: training, validation and test.

    Args:
      training: Fields for training.
      test_fields: Fields for the test, of each modality.
    Returns:
      `sizes` of `cellml.datasets.load_source`.
    """
    return training, max(2, training // 8), len(MODALITIES) * test_fields


def simulated_fields(data_dir: Path, *, sizes: tuple[int, int, int], side_px: int) -> list[Field]:
    """The test split of `nuclei_simulated`: as many fields of each modality.

    Args:
      data_dir: Where the data set is built on first use.
      sizes: Fields in each split.
      side_px: Side of a field.
    Returns:
      Fields with truth.
    """
    source = load_source(
        "nuclei_simulated", "test", data_dir=data_dir, sizes=sizes, shape=(side_px, side_px)
    )
    return [
        Field(
            f"{record['modality']}_{record['id']}",
            MODALITIES[record["modality"]],
            record["image"],
            np.asarray(record["labels"], np.int32),
        )
        for record in source
    ]


def tissue_section(side_px: int) -> Field:
    """Colon glands from scikit-image's wheel (`ihc.png`, no known copyright restrictions).

    A brown stain marks a protein, blue haematoxylin the nuclei; neither stain mix nor organ are
    among the images that the shipped model was trained on.

    Args:
      side_px: Side of the part taken, from the lower right corner; at most 512.
    Returns:
      A field without truth.
    """
    from skimage.data import immunohistochemistry

    image = np.asarray(immunohistochemistry())[-side_px:, -side_px:, :3]
    return Field("colon_ihc", "Colon (IHC)", np.ascontiguousarray(image))


def by_group(fields: Sequence[Field]) -> dict[str, list[int]]:
    """Positions of the fields of each group, in order of first appearance.

    Args:
      fields: The fields.
    Returns:
      Positions by group.
    """
    groups: dict[str, list[int]] = {}
    for i, item in enumerate(fields):
        groups.setdefault(item.group, []).append(i)
    return groups
