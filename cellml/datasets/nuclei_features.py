"""What a record of nuclei holds, and the index that a data set of them carries along.

The index (`info.metadata["cases"]`, one row per record in the order of the records) lets splits be
resolved without reading an image.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from cellml.data.nuclei_folders import MODALITIES


def nuclei_features(image_dtype: type[np.generic]) -> tfds.features.FeaturesDict:
    """Returns the features of a record.

    Arrays are stored zlib-compressed and without loss; tensorflow-datasets reads and writes them
    without TensorFlow, which its Image feature cannot.

    Args:
      image_dtype: uint8 or uint16.

    Returns:
      id; image (h, w, c), c = 1 grey or 3 RGB; labels (h, w) uint16; modality; group (the smallest
      id among images of the same field).
    """
    return tfds.features.FeaturesDict(
        {
            "id": tfds.features.Text(),
            "image": tfds.features.Tensor(
                shape=(None, None, None), dtype=image_dtype, encoding="zlib"
            ),
            "labels": tfds.features.Tensor(shape=(None, None), dtype=np.uint16, encoding="zlib"),
            "modality": tfds.features.ClassLabel(names=list(MODALITIES)),
            "group": tfds.features.Text(),
        }
    )


def index_row(record: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what the index holds of a record: names, height, width and number of nuclei."""
    labels = record["labels"]
    return {
        "id": record["id"],
        "modality": record["modality"],
        "group": record["group"],
        "height": int(labels.shape[0]),
        "width": int(labels.shape[1]),
        "n_nuclei": int(labels.max(initial=0)),
    }
