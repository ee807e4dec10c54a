"""Scores a model on the whole images of a data set: `cellml evaluate`, `launch/evaluate.py`."""

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from cellml.commands.long_work import plain_console, say
from cellml.commands.tta_study_scores import foreground_iou
from cellml.data.writers import write_json
from cellml.datasets import NUCLEI_DATASETS, load_source
from cellml.errors import UsageError
from cellml.metrics.bootstrap import paired_bootstrap
from cellml.metrics.scores import InstanceScores, evaluate_labels, summarise
from cellml.tasks.instances import InstanceSegmenter
from cellml.tasks.nucleus_models import (
    NucleusModel,
    as_nucleus_model,
    load_nucleus_model,
    predict_image,
)
from cellml.tasks.semantic import Segmenter
from cellml.tta import PRESETS as TTA_PRESETS
from cellml.tta import resolve_transforms

EVERY = "all"


class ImageScore(NamedTuple):
    """Scores of one image under each TTA preset, in the order asked for."""

    id: str
    modality: str
    scores: tuple[InstanceScores, ...]
    foreground_iou: tuple[float, ...]


def score_source(
    model: Segmenter | InstanceSegmenter | NucleusModel,
    source: Sequence[Mapping[str, Any]],
    *,
    tta: Sequence[str] = ("none", "d4"),
    preset: str = "kaggle",
) -> Iterator[ImageScore]:
    """Scores image by image, whole images in their own size.

    Args:
      model: Of any kind.
      source: Records with id, image, labels, modality.
      tta: Presets of `cellml.tta`; all of them must be subsets of the largest one.
      preset: Preset of `cellml.metrics.scores`.
    Returns:
      An iterator, one score a record, in order.
    """
    loaded = as_nucleus_model(model)
    names = [[t.name for t in resolve_transforms(name)] for name in tta]
    largest = max(range(len(tta)), key=lambda i: len(names[i]))
    for row in range(len(source)):
        record = source[row]
        true = np.asarray(record["labels"])
        copies = predict_image(loaded, record["image"], transforms=tta[largest], chunk=2)
        scores, overlap = [], []
        for wanted in names:
            # Every preset is read off the predictions of the largest: none is computed twice.
            found = copies.merge([names[largest].index(name) for name in wanted])
            scores.append(evaluate_labels(true, found.labels, preset=preset))
            overlap.append(foreground_iou(true, found.foreground))
        yield ImageScore(str(record["id"]), str(record["modality"]), tuple(scores), tuple(overlap))


def summary(found: Sequence[ImageScore], tta: Sequence[str], *, seed: int = 0) -> dict[str, Any]:
    """Per modality and TTA preset: scores over the images, and the gain over the first preset.

    Args:
      found: Scores of the images.
      tta: The presets, in the order of the scores.
      seed: Of the bootstrap.
    Returns:
      `{modality: {tta: {...}}}` with plain numbers; modality `"all"` has every image.
    """
    result: dict[str, Any] = {}
    for modality in [*sorted({score.modality for score in found}), EVERY]:
        part = [score for score in found if modality in (score.modality, EVERY)]
        result[modality] = {}
        for i, name in enumerate(tta):
            total = summarise([score.scores[i] for score in part])
            entry: dict[str, Any] = {
                "n_images": total.n_images,
                "n_true": total.n_true,
                "n_pred": total.n_pred,
                "ap_dsb2018": total.ap_dsb2018,
                "ap_50": float(total.ap[0]),
                "ap_75": float(total.ap[5]),
                "pq": total.pq,
                "aji": total.aji,
                "foreground_iou": float(np.mean([score.foreground_iou[i] for score in part])),
            }
            gains = [s.scores[i].ap_dsb2018 - s.scores[0].ap_dsb2018 for s in part]
            if i and np.isfinite(gains).all():
                gain = paired_bootstrap(seed, gains)
                entry["gain_ap_dsb2018"] = {
                    "mean": gain.mean,
                    "low95": gain.low,
                    "high95": gain.high,
                    "share_worse": gain.share_worse,
                }
            result[modality][name] = entry
    return result


def run(
    *,
    model: str = "nuclei",
    data: str = "dsb2018",
    split: str = "validation",
    data_dir: str | None = None,
    manual_dir: str | None = None,
    tta: Sequence[str] = ("none", "d4"),
    preset: str = "kaggle",
    json_file: Path | None = None,
    console: Console | None = None,
) -> dict[str, Any]:
    """Evaluates a model and prints a table.

    Args:
      model: Name of a shipped model, or the path of a weights file.
      data: Data set of `cellml.datasets`.
      split: Its split.
      data_dir: Where the prepared data set lies or is to be put.
      manual_dir: Folder with the original files.
      tta: TTA presets; gains are against the first.
      preset: Definition of the instance scores.
      json_file: Where to write the result with every image's score.
      console: Where to print.
    Returns:
      What is written to `json_file`.
    Raises:
      UsageError: Unknown model, data set, split or preset.
    """
    console = console or plain_console()
    if unknown := sorted(set(tta) - set(TTA_PRESETS)):
        raise UsageError(f"--tta: unknown {unknown}; known: {', '.join(TTA_PRESETS)}")
    if data not in NUCLEI_DATASETS:
        raise UsageError(f"--data: unknown {data!r}; known: {', '.join(NUCLEI_DATASETS)}")
    try:
        loaded = load_nucleus_model(model)
        source = load_source(data, split, data_dir=data_dir, manual_dir=manual_dir)
    except (ValueError, OSError) as error:
        raise UsageError(str(error)) from error
    start = time.perf_counter()
    found = []
    for score in score_source(loaded, source, tta=tta, preset=preset):
        found.append(score)
        if len(found) % 20 == 0:
            console.print(f"{len(found)} of {len(source)} images", style="dim")
    result = {
        "model": str(model),
        "data": data,
        "split": split,
        "preset": preset,
        "time_s": time.perf_counter() - start,
        "summary": summary(found, tta),
        "images": [
            {
                "id": score.id,
                "modality": score.modality,
                "ap_dsb2018": {t: s.ap_dsb2018 for t, s in zip(tta, score.scores, strict=True)},
            }
            for score in found
        ],
    }
    console.print(as_table(result, title=f"{model} on {data}/{split}, preset {preset}"))
    for line in gain_lines(result, first=tta[0]):
        say(console, line)
    if json_file:
        write_json(json_file, result)
    return result


def as_table(result: Mapping[str, Any], *, title: str) -> Table:
    """The summary as a table for the terminal."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=0, show_edge=False)
    for column in ("modality", "TTA", "images", "mAP_DSB", "AP.5", "AP.75", "PQ", "AJI", "IoU"):
        table.add_column(column, justify="left" if column in ("modality", "TTA") else "right")
    for modality, rows in result["summary"].items():
        for name, row in rows.items():
            table.add_row(
                modality,
                name,
                str(row["n_images"]),
                *(
                    f"{row[key]:.3f}"
                    for key in ("ap_dsb2018", "ap_50", "ap_75", "pq", "aji", "foreground_iou")
                ),
            )
    return table


def gain_lines(result: Mapping[str, Any], *, first: str) -> Iterator[str]:
    """What each TTA preset adds to the mAP_DSB of the preset `first`, in words."""
    for modality, rows in result["summary"].items():
        for name, row in rows.items():
            if gain := row.get("gain_ap_dsb2018"):
                yield (
                    f"{modality}, {name} against {first}: mAP_DSB {gain['mean']:+.4f} "
                    f"(95 % {gain['low95']:+.4f} to {gain['high95']:+.4f}), "
                    f"{gain['share_worse']:.0%} of the images worse"
                )
