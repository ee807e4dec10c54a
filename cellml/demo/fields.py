"""The images of the tour: simulated fields with truth, and the tissue that scikit-image ships."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, Shaped, UInt8

from cellml.datasets import load_source
from cellml.demo.settings import DemoSize
from cellml.report.panels import displayed
from cellml.tasks.otsu import nuclear_signal

MODALITIES = {"fluorescence": "Fluorescence", "tissue": "Tissue (H&E)"}
"""Modalities of the simulated fields and their names in figures."""


@dataclass(frozen=True)
class Field:
    """One image.

    Attributes:
      name: Used in file names.
      group: Heading under which its scores are averaged.
      image: Raw pixels, as the model gets them.
      truth: True labels, None where nobody knows them.
      picture: What is shown of it, where that is not `image` itself.
    """

    name: str
    group: str
    image: Shaped[np.ndarray, "h w c"]
    truth: Int[np.ndarray, "h w"] | None = None
    picture: UInt8[np.ndarray, "h w 3"] | None = None

    @property
    def shown(self) -> UInt8[np.ndarray, "h w 3"]:
        """RGB for the eye."""
        return displayed(self.image) if self.picture is None else self.picture


def data_options(size: DemoSize) -> dict[str, Any]:
    """Settings of the simulated data set that training and scoring share.

    Args:
      size: Of the tour.
    Returns:
      Keyword arguments of `cellml.datasets.load_source`: fields in the splits (training,
      validation, test) and their shape.
    """
    train, test = size.training_fields, len(MODALITIES) * size.fields
    return {
        "sizes": (train, max(2, train // 8), test),
        "shape": (size.side_px, size.side_px),
    }


def simulated_fields(data_dir: Path, size: DemoSize) -> list[Field]:
    """The test split of `nuclei_simulated`: as many fields of each modality.

    Args:
      data_dir: Where the data set is built on first use.
      size: Of the tour.
    Returns:
      Fields with truth.
    """
    source = load_source("nuclei_simulated", "test", data_dir=data_dir, **data_options(size))
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

    A brown stain marks a protein, blue haematoxylin the nuclei. The blue is unmixed from the brown
    and given to the model as if it were fluorescence.

    Args:
      side_px: Side of the part taken, from the lower right corner; at most 512.
    Returns:
      A field without truth.
    """
    from skimage.data import immunohistochemistry

    picture = np.ascontiguousarray(immunohistochemistry()[-side_px:, -side_px:, :3])
    # The unmixing has outliers of both signs where the section is torn.
    blue = nuclear_signal(picture)
    low, high = np.percentile(blue, (1.0, 99.9))
    image = np.clip((blue - low) / max(float(high - low), 1e-6), 0, 1)[..., None]
    return Field("colon_ihc", "Colon (IHC)", image.astype(np.float32), picture=picture)


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
