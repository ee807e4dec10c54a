"""How large the tour is, and what its chapters share."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class DemoSize:
    """Numbers that decide how long the tour takes.

    Attributes:
      fields: Simulated fields of each modality that are segmented and scored.
      shown: Of these, fields of each modality that are shown.
      side_px: Side of a simulated field.
      tissue_side_px: Side of the part of scikit-image's tissue section that is segmented.
      training_fields: Simulated fields for training.
      training_filters: Channels of the levels of the small U-Net.
      training_steps: Steps of its training.
      training_crop_px: Side of a training crop.
      training_batch: Crops a step.
      training_snapshots: How often its progress is looked at.
      screen: Attributes of the simulated screen, see `ScreenDesign`.
      assays: Of the simulated assays and the networks that predict them.
    """

    fields: int = 8
    shown: int = 2
    side_px: int = 256
    tissue_side_px: int = 320
    training_fields: int = 64
    training_filters: tuple[int, ...] = (12, 16, 32, 48)
    training_steps: int = 300
    training_crop_px: int = 96
    training_batch: int = 8
    training_snapshots: int = 6
    screen: tuple[tuple[str, Any], ...] = (("n_sites", 1), ("n_cells", 14))
    assays: tuple[tuple[str, Any], ...] = (
        ("n_compounds", 600),
        ("n_assays", 12),
        ("folds", 4),
        ("preset", "cellml"),
        ("epochs", 12),
        ("changes", ("model.members=1", "train.checkpoint_every_epochs=12")),
    )


FULL = DemoSize()
SMOKE = DemoSize(
    fields=2,
    shown=1,
    side_px=64,
    tissue_side_px=64,
    training_fields=4,
    training_filters=(8, 8),
    training_steps=4,
    training_crop_px=32,
    training_batch=2,
    training_snapshots=2,
    screen=(
        ("mechanisms", ("er_stress", "actin_inhibitor")),
        ("n_per_mechanism", 3),
        ("n_inactive", 0),
        ("n_plates", 2),
        ("n_rows", 2),
        ("n_columns", 5),
        ("n_sites", 1),
        ("shape", (64, 64)),
        ("n_cells", 4),
        ("cell_diameter_px", 24.0),
    ),
    assays=(
        ("n_compounds", 60),
        ("n_assays", 3),
        ("folds", 2),
        ("preset", "morgan"),
        ("epochs", 1),
        (
            "changes",
            ("model.members=1", "model.hidden=[8]", "model.fingerprint.size=64"),
        ),
    ),
)
"""Seconds instead of minutes, for tests."""

SIZES = {"full": FULL, "smoke": SMOKE}


@dataclass
class DemoRun:
    """What the chapters get and what they share.

    Attributes:
      out: Everything is written below this folder.
      model: Name or path of the segmenter.
      size: See `DemoSize`.
      say: Prints a line of progress.
      numbers: What chapters measured, JSON-able; written beside the report.
      facts: Lines for the end of the report.
      shared: Results that one chapter leaves for another, by name.
    """

    out: Path
    model: str | Path
    size: DemoSize
    say: Callable[[str], None]
    numbers: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)
    shared: dict[str, Any] = field(default_factory=dict)

    def once(self, name: str, make: Callable[["DemoRun"], Any]) -> Any:
        """What `make(self)` returns; computed when first asked for, under a name.

        Args:
          name: Key in `shared`.
          make: Called at most once.
        Returns:
          The result.
        """
        if name not in self.shared:
            self.shared[name] = make(self)
        return self.shared[name]


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._start_s = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        return time.perf_counter() - self._start_s
