"""Metrics of a run on disk: `metrics.jsonl` and TensorBoard event files."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

METRICS_FILE = "metrics.jsonl"
TENSORBOARD_FOLDER = "tensorboard"


class MetricsLog:
    """Writes each record as a line of JSON and as TensorBoard scalars.

    A line is `{"step": n, "<group>/<metric>": value, ...}`; NaN and infinities are written as
    null, which every JSON reader takes.

    Attributes:
      path: The JSONL file.
    """

    def __init__(self, workdir: Path, *, resume_step: int, tensorboard: bool = True) -> None:
        """Opens the files; lines of steps after `resume_step` are dropped.

        Args:
          workdir: The run's folder.
          resume_step: Step that the run goes on from, 0 to begin with empty files.
          tensorboard: Whether to write event files too.
        """
        self.path = workdir / METRICS_FILE
        truncate(self.path, resume_step)
        self._file = self.path.open("a", encoding="utf-8")
        self._writer = None
        if tensorboard:
            from tensorboardX import SummaryWriter

            # purge_step makes TensorBoard hide what a killed run wrote beyond its checkpoint.
            self._writer = SummaryWriter(
                str(workdir / TENSORBOARD_FOLDER), purge_step=resume_step + 1
            )

    def write(self, step: int, group: str, values: Mapping[str, float]) -> None:
        """Adds one record and flushes it.

        Args:
          step: Number of steps taken.
          group: "train" or "eval", put before each name.
          values: Scalars by name.
        """
        record: dict[str, Any] = {"step": step}
        for name, value in values.items():
            value = float(value)
            record[f"{group}/{name}"] = value if math.isfinite(value) else None
            if self._writer is not None:
                self._writer.add_scalar(f"{group}/{name}", value, step)
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Closes the files."""
        self._file.close()
        if self._writer is not None:
            self._writer.close()


def truncate(path: Path, step: int, *, group: str | None = None) -> None:
    """Keeps the lines of steps up to `step`; a half-written last line goes too.

    Args:
      path: A JSONL file, which need not exist.
      step: Last step that is kept.
      group: If given, lines of this group at `step` itself go as well.
    """
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        redone = group is not None and any(name.startswith(f"{group}/") for name in record)
        if record["step"] < step or (record["step"] == step and not redone):
            kept.append(line)
    # Written beside and moved: a kill in between must not lose the history.
    part = path.with_suffix(".part")
    part.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
    part.replace(path)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Reads the records of a `metrics.jsonl`; an unfinished last line is passed over."""
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return records
