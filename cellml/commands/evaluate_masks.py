"""`cellml evaluate-masks`: scores predicted label images against true ones."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from cellml.data.images import find_images, image_stem, read_labels
from cellml.data.writers import write_json
from cellml.errors import UsageError, UserError
from cellml.metrics.scores import InstanceScores, evaluate_labels, summarise

SUFFIXES = ("_labels", "_label", "_masks", "_mask")
SHOWN = {"AP 0.5": 0.5, "AP 0.75": 0.75, "AP 0.9": 0.9}
NAMED_MAX = 10
SCORES_WIDTH = 71
"""Columns of a terminal that the numbers take."""


@dataclass(frozen=True)
class Pairs:
    """What the two folders have in common, by stem."""

    truth: dict[str, Path]
    pred: dict[str, Path]

    @property
    def missing(self) -> list[str]:
        """Stems with a truth and no prediction."""
        return sorted(self.truth.keys() - self.pred.keys())

    @property
    def extra(self) -> list[str]:
        """Stems with a prediction and no truth."""
        return sorted(self.pred.keys() - self.truth.keys())


def run(truth: Path, pred: Path, *, preset: str, json_path: Path | None, console: Console) -> int:
    """Prints a table per image and overall.

    Args:
      truth: Folder of true label images.
      pred: Folder of predicted ones, matched by stem; `_labels` and `_mask` endings are ignored.
      preset: Key of `cellml.metrics.PRESETS`.
      json_path: Where to write all numbers, if anywhere.
      console: Where to print.

    Returns:
      Exit code: 0, or 1 if a pair could not be compared. A missing prediction is no error of the
      command: it counts as all false negatives.

    Raises:
      UsageError: Not a folder, no images, two files of one stem, or no stem in common.
    """
    pairs = Pairs(labels_by_stem(truth), labels_by_stem(pred, skip_pictures=True))
    if len(pairs.missing) == len(pairs.truth):
        raise UsageError(
            f"{truth} and {pred} have no stem in common: e.g. {pairs.missing[0]} there, "
            f"{pairs.extra[0]} here"
        )
    scores: dict[str, InstanceScores] = {}
    errors: list[str] = []
    for stem in sorted(pairs.truth):
        try:
            scores[stem] = _score(pairs, stem, preset)
        except UserError as error:
            errors.append(str(error))
    overall = summarise(list(scores.values())) if scores else None
    console.print(_table(scores, overall, set(pairs.missing), preset, console.width), markup=False)
    _list(console, "no prediction (all counted as false negatives)", pairs.missing)
    _list(console, "predictions without a truth, ignored", pairs.extra)
    if errors:
        console.print(f"{len(errors)} not compared:", style="bold red")
    for line in errors:
        console.print(f"  {line}", soft_wrap=True, highlight=False, markup=False)
    if json_path is not None:
        content: dict[str, Any] = {
            "preset": preset,
            "overall": overall.as_dict() if overall is not None else None,
            "images": {stem: score.as_dict() for stem, score in scores.items()},
            "missing": pairs.missing,
            "ignored": pairs.extra,
            "errors": errors,
        }
        write_json(json_path, content)
    return 1 if errors else 0


def labels_by_stem(folder: Path, *, skip_pictures: bool = False) -> dict[str, Path]:
    """Lists a folder's label images by their stem without `_labels`, `_mask` and the like.

    Args:
      folder: Where to look.
      skip_pictures: Leave out the overlays and uncertainty maps that `cellml segment` writes.

    Returns:
      Stem to path, sorted.

    Raises:
      UsageError: No folder, no image in it, or two files with one stem.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder")
    found: dict[str, Path] = {}
    for path in find_images([folder]):
        stem = image_stem(path)
        if skip_pictures and stem.endswith(("_overlay", "_uncertainty")):
            continue
        for suffix in SUFFIXES:
            if stem.endswith(suffix) and stem != suffix:
                stem = stem[: -len(suffix)]
                break
        other = found.setdefault(stem, path)
        if other != path:
            raise UsageError(f"{other} and {path} share the stem '{stem}'; keep one of them")
    if not found:
        raise UsageError(f"{folder}: no label images in this folder")
    return found


def _score(pairs: Pairs, stem: str, preset: str) -> InstanceScores:
    true = read_labels(pairs.truth[stem])
    path = pairs.pred.get(stem)
    if path is None:
        return evaluate_labels(true, None, preset=preset)
    pred = read_labels(path)
    if true.shape != pred.shape:
        raise UserError(
            f"{path}: {pred.shape[0]} x {pred.shape[1]} px found, "
            f"{true.shape[0]} x {true.shape[1]} expected as in {pairs.truth[stem]}"
        )
    return evaluate_labels(true, pred, preset=preset)


def _table(
    scores: dict[str, InstanceScores],
    overall: InstanceScores | None,
    missing: set[str],
    preset: str,
    width: int,
) -> Table:
    # Scores are never cut: where the terminal is narrow, long image names give way.
    table = Table(
        title=f"preset {preset}",
        title_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        show_edge=False,
    )
    name_width = min(32, max(10, width - SCORES_WIDTH))
    table.add_column("image", overflow="ellipsis", max_width=name_width, no_wrap=True)
    for name in ("true", "pred", "mAP_DSB", *SHOWN, "F1 0.5", "PQ", "AJI"):
        table.add_column(name, justify="right", no_wrap=True)
    for stem, score in scores.items():
        table.add_row(*_row(stem, score), style="red" if stem in missing else None)
    if overall is not None:
        table.add_section()
        table.add_row(*_row(f"all {overall.n_images} images", overall), style="bold")
    return table


def _row(name: str, score: InstanceScores) -> list[str]:
    def at(rates: np.ndarray, threshold: float) -> str:
        return _number(float(rates[int(np.argmin(np.abs(score.thresholds - threshold)))]))

    return [
        name,
        str(score.n_true),
        str(score.n_pred),
        _number(score.ap_dsb2018),
        *(at(score.ap, threshold) for threshold in SHOWN.values()),
        at(score.f1, 0.5),
        _number(score.pq),
        _number(score.aji),
    ]


def _number(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.3f}"


def _list(console: Console, what: str, names: list[str]) -> None:
    if names:
        more = f" and {len(names) - NAMED_MAX} more" if len(names) > NAMED_MAX else ""
        line = f"{len(names)} {what}: {', '.join(names[:NAMED_MAX])}{more}"
        console.print(line, soft_wrap=True, highlight=False, markup=False)
