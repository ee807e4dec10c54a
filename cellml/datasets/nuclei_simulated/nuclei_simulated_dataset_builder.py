"""tensorflow-datasets builder of simulated nuclei; needs neither TensorFlow nor a download."""

import dataclasses
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from cellml.data.simulation import simulate_field
from cellml.datasets.nuclei_features import index_row, nuclei_features

SPLITS = ("train", "validation", "test")
MODALITIES_OF = {
    "fluorescence": ("fluorescence",),
    "fluorescence_16bit": ("fluorescence",),
    "histology": ("tissue",),
    "mixed": ("fluorescence", "tissue"),
}


@dataclasses.dataclass
class SimulatedConfig(tfds.core.BuilderConfig):
    """What to simulate.

    Attributes:
      content: 'fluorescence', 'fluorescence_16bit', 'histology' or 'mixed' (by turns).
      sizes: Number of fields in 'train', 'validation' and 'test'.
      shape: Height and width.
      seed: Fields are functions of (seed, split, number): more fields do not change earlier ones.
    """

    content: str = "mixed"
    sizes: tuple[int, int, int] = (96, 24, 24)
    shape: tuple[int, int] = (256, 256)
    seed: int = 0


def make_config(
    content: str = "mixed",
    *,
    sizes: tuple[int, int, int] = (96, 24, 24),
    shape: tuple[int, int] = (256, 256),
    seed: int = 0,
) -> SimulatedConfig:
    """Makes a config whose name tells all of its settings.

    Args:
      content: A key of `MODALITIES_OF`.
      sizes: Numbers of fields in the three splits.
      shape: Height and width of a field, px.
      seed: Of all fields.

    Returns:
      The config.

    Raises:
      ValueError: Unknown content, or a size that is no positive number.
    """
    if content not in MODALITIES_OF:
        raise ValueError(f"unknown content {content!r}; known are {sorted(MODALITIES_OF)}")
    if len(sizes) != 3 or min(sizes) < 1:
        raise ValueError(f"sizes are the numbers of fields in {SPLITS}, at least 1, got {sizes}")
    name = f"{content}_{shape[0]}x{shape[1]}_{sizes[0]}_{sizes[1]}_{sizes[2]}_seed{seed}"
    return SimulatedConfig(
        name=name, content=content, sizes=tuple(sizes), shape=tuple(shape), seed=seed
    )


class Builder(tfds.core.GeneratorBasedBuilder):
    """Fields rendered by `cellml.data.simulation.simulate_field`."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "First release."}
    # No BUILDER_CONFIGS: tfds refuses a custom config that has the name of a listed one.

    def _info(self) -> tfds.core.DatasetInfo:
        is_16bit = self.builder_config.content.endswith("16bit")
        return self.dataset_info_from_configs(
            description="Simulated nuclei with true instance labels.",
            features=nuclei_features(np.uint16 if is_16bit else np.uint8),
            license="CC0 1.0",
            metadata=tfds.core.MetadataDict(cases={}),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager):
        del dl_manager
        return {split: self._generate_examples(split) for split in SPLITS}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        config = self.builder_config
        modalities = MODALITIES_OF[config.content]
        bits = 16 if config.content.endswith("16bit") else 8
        rows = []
        for number in range(config.sizes[SPLITS.index(split)]):
            modality = modalities[number % len(modalities)]
            rng = np.random.default_rng((config.seed, SPLITS.index(split), number))
            image, labels = simulate_field(rng, modality=modality, shape=config.shape, bits=bits)
            name = f"{split}_{number:05d}"
            record = {
                "id": name,
                "image": image,
                "labels": labels.astype(np.uint16),
                "modality": modality,
                "group": name,
            }
            rows.append(index_row(record))
            yield number, record
        self.info.metadata["cases"][split] = rows
