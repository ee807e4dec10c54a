"""tensorflow-datasets builder of simulated screens; needs neither TensorFlow nor a download."""

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from cellml.data.screen_simulation import (
    CHANNELS,
    ScreenDesign,
    ScreenField,
    Well,
    field_id,
    list_wells,
    simulate_screen_field,
)

STORED = "fields"
"""The split on disk; tfds keeps the name 'all' for itself."""


@dataclasses.dataclass
class ScreenConfig(tfds.core.BuilderConfig):
    """What to simulate.

    Attributes:
      design: The screen.
    """

    design: ScreenDesign = dataclasses.field(default_factory=ScreenDesign)


def make_config(**settings: Any) -> ScreenConfig:
    """Makes a config; two designs that differ have different names.

    Args:
      **settings: Attributes of `ScreenDesign`; lists do as tuples.

    Returns:
      The config.

    Raises:
      TypeError: An unknown setting.
      ValueError: A setting is out of range.
    """
    settings = {
        name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()
    }
    design = ScreenDesign(**settings)
    text = json.dumps(dataclasses.asdict(design), sort_keys=True)
    digest = hashlib.sha1(text.encode()).hexdigest()[:12]
    size = f"{design.n_plates}x{design.n_rows}x{design.n_columns}x{design.n_sites}"
    shape = f"{design.shape[0]}x{design.shape[1]}"
    return ScreenConfig(name=f"{size}_{shape}_seed{design.seed}_{digest}", design=design)


def split_names(design: ScreenDesign) -> list[str]:
    """Returns 'all' and one split a plate."""
    return ["all", *dict.fromkeys(f"plate/{well.plate}" for well in list_wells(design))]


class Builder(tfds.core.GeneratorBasedBuilder):
    """Fields rendered by `cellml.data.screen_simulation`, plate by plate and well by well."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "First release."}
    # No BUILDER_CONFIGS: tfds refuses a custom config that has the name of a listed one.

    def _info(self) -> tfds.core.DatasetInfo:
        texts = ("id", "plate", "well", "site", "batch", "treatment", "mechanism", "role")
        labels = tfds.features.Tensor(shape=(None, None), dtype=np.uint16, encoding="zlib")
        image = tfds.features.Tensor(
            shape=(None, None, len(CHANNELS)), dtype=np.uint16, encoding="zlib"
        )
        features = {name: tfds.features.Text() for name in texts} | {
            "strength": tfds.features.Scalar(dtype=np.float32),
            "image": image,
            "labels": labels,
            "nuclei": labels,
            # Encoded, since tfds cannot give back an array without rows otherwise.
            "centres": tfds.features.Tensor(shape=(None, 2), dtype=np.float32, encoding="zlib"),
        }
        return self.dataset_info_from_configs(
            description="A simulated Cell Painting screen with known mechanisms and batches.",
            features=tfds.features.FeaturesDict(features),
            license="CC0 1.0",
            metadata=tfds.core.MetadataDict(cases={}),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager):
        del dl_manager
        return {STORED: self._generate_examples()}

    def _generate_examples(self) -> Iterator[tuple[int, dict[str, Any]]]:
        design, rows = self.builder_config.design, []
        for well in list_wells(design):
            for site in range(1, design.n_sites + 1):
                field = simulate_screen_field(design, well, site)
                record = _record(well, site, field)
                rows.append(_index_row(well, record))
                yield len(rows) - 1, record
        self.info.metadata["cases"][STORED] = rows


def _record(well: Well, site: int, field: ScreenField) -> dict[str, Any]:
    return {
        "id": field_id(well, site),
        "plate": well.plate,
        "well": well.well,
        "site": str(site),
        "batch": well.batch,
        "treatment": well.treatment.name,
        "mechanism": well.treatment.mechanism,
        "role": well.treatment.role,
        "strength": np.float32(well.treatment.strength),
        "image": field.image,
        "labels": field.labels.astype(np.uint16),
        "nuclei": field.nuclei.astype(np.uint16),
        "centres": field.centres.astype(np.float32),
    }


def _index_row(well: Well, record: dict[str, Any]) -> dict[str, Any]:
    """Returns what the index holds of a record: all but its arrays, and their sizes."""
    row = {name: value for name, value in record.items() if isinstance(value, str)}
    height, width = record["labels"].shape
    return row | {
        "strength": float(well.treatment.strength),
        "replicate": well.replicate,
        "is_faulty": well.is_faulty,
        "height": int(height),
        "width": int(width),
        "n_cells": len(record["centres"]),
    }
