"""What `cellml profile report` reads: experiments of a project or bare tables, truth, training."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cellml.commands.profile_outputs import OUTPUTS
from cellml.data.text_tables import line_of, read_text_table, suggestion
from cellml.errors import UsageError, UserError
from cellml.report.profiling_results import TrainingCurve
from cellml.train.logs import METRICS_FILE, read_metrics

WELLS = Path("profiles", "well.parquet")
MODEL = "model"
TRUTH = Path("inputs", "metadata", "truth.csv")
TREATMENTS, STRENGTH = ("Metadata_treatment", "treatment"), "strength"
NAMED = re.compile(r"([\w.+-]+)=(.+)")


class Source(NamedTuple):
    """Where the profiles of one experiment lie.

    Attributes:
      name: Of the experiment.
      files: Tables of wells.
      model: Folder of the training run; None if there is none.
    """

    name: str
    files: tuple[Path, ...]
    model: Path | None = None


def find_experiments(project: Path, names: Sequence[str] = ()) -> list[Source]:
    """Finds `outputs/<experiment>/profiles/well.parquet` in a project.

    Args:
      project: Its folder.
      names: Experiments wanted, in this order; all, by name, if empty.

    Returns:
      The experiments.

    Raises:
      UserError: There is none, or not this one; the message names the closest.
    """
    outputs = project / OUTPUTS
    found = {path.parts[-3]: path for path in sorted(outputs.glob(f"*/{WELLS.as_posix()}"))}
    if not found:
        raise UserError(f"{outputs}: no profiles found, expected <experiment>/{WELLS.as_posix()}")
    for name in names:
        if name not in found:
            raise UserError(f"{outputs / name / WELLS}: no such file{suggestion(name, found)}")
    chosen = list(dict.fromkeys(names)) or list(found)
    return [
        Source(name, (found[name],), model if model.is_dir() else None)
        for name in chosen
        for model in (outputs / name / MODEL,)
    ]


def name_tables(tables: Sequence[str]) -> list[Source]:
    """Sorts `NAME=FILE` and `FILE` into experiments; files of one name belong together.

    Args:
      tables: As on the command line. Files without a name are one experiment, "profiles".

    Returns:
      The experiments, in the order of their first file.

    Raises:
      UsageError: There is no table.
    """
    if not tables:
        raise UsageError("a project or tables of profiles are needed")
    files: dict[str, list[Path]] = {}
    for text in tables:
        named = None if Path(text).is_file() else NAMED.fullmatch(text)
        name, path = named.groups() if named else ("profiles", text)
        files.setdefault(name, []).append(Path(path))
    return [Source(name, tuple(paths)) for name, paths in files.items()]


def read_truth(path: Path) -> dict[str, float]:
    """Reads the true strength of treatments.

    Args:
      path: CSV with the columns treatment (or Metadata_treatment) and strength.

    Returns:
      Strength by treatment.

    Raises:
      UserError: The file cannot be read; the message names the row.
    """
    table = read_text_table(path, required=(STRENGTH,))
    columns = [name for name in TREATMENTS if name in table.column_names]
    if not columns:
        raise UserError(
            f"{path}: no column 'treatment'{suggestion('treatment', table.column_names)}"
        )
    truth = {}
    names, texts = (table[name].to_pylist() for name in (columns[0], STRENGTH))
    for row, (name, text) in enumerate(zip(names, texts, strict=True)):
        try:
            truth[name] = float(text)
        except ValueError:
            raise UserError(
                f"{path}, line {line_of(row)}: strength must be a number, found {text!r}"
            ) from None
    return truth


def read_training(model: Path) -> TrainingCurve | None:
    """Reads F1 of every evaluation from the log of a training run.

    Args:
      model: The run's folder, with metrics.jsonl and config.json.

    Returns:
      The curve, over epochs if the config says how many lie between two evaluations and else over
      steps; None if nothing was logged.
    """
    log = model / METRICS_FILE
    if not log.is_file():
        return None
    records = [record for record in read_metrics(log) if record.get("eval/f1") is not None]
    if not records:
        return None
    steps = np.array([record["step"] for record in records], np.float64)
    train = [record.get("eval/train_f1") for record in records]
    per_evaluation = _epochs_per_evaluation(model / "config.json")
    # A run cut short has one evaluation, and that not at the end of an epoch.
    in_epochs = per_evaluation is not None and steps.size > 1
    return TrainingCurve(
        place=steps / steps[0] * (per_evaluation or 1.0) if in_epochs else steps,
        unit="epoch" if in_epochs else "step",
        train=np.array([np.nan if value is None else value for value in train], np.float64),
        validation=np.array([record["eval/f1"] for record in records], np.float64),
    )


def _epochs_per_evaluation(config: Path) -> float | None:
    """From the config.json that the training wrote; None if that does not say."""
    try:
        train = json.loads(config.read_text(encoding="utf-8"))["config"]["train"]
        return float(train["eval_every_epochs"]) if "epochs" in train else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
