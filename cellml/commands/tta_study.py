"""The study of test-time augmentation: `cellml tta-study`, `launch/tta_study.py`.

Every checkpoint of every group predicts every image once under all transforms; what it gains by
TTA is read off those predictions, image by image, beside the gain of a dilation by one pixel.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import csv, parquet
from rich.console import Console

from cellml.commands.long_work import plain_console
from cellml.commands.tta_study_inputs import (
    check_predictions,
    find_checkpoints,
    limited,
    load_study_model,
    open_source,
)
from cellml.commands.tta_study_scores import (
    EVERY,
    METHODS,
    ROW_SCHEMA,
    SCORES,
    StudyModel,
    foreground_iou,
    score_rows,
    summarise_rows,
    variants,
)
from cellml.commands.tta_study_text import summary_text
from cellml.data.writers import atomic, write_json
from cellml.errors import UsageError, UserError
from cellml.metrics.scores import PRESETS as SCORE_PRESETS
from cellml.report.tta_study import CasePanels, EpochScores, draw_cases, draw_deltas, draw_epochs
from cellml.tta import PRESETS as TTA_PRESETS

PANEL_PX = 320
"""Images larger than this are shown around the place where TTA changes most."""
SCORE_NAMES = {"iou": "IoU", "ap_dsb2018": "mAP_DSB"}


def main(arguments: Sequence[str]) -> int:
    """Parses the command line and runs the study.

    Args:
      arguments: The command line without the program's name.
    Returns:
      Exit code: 0, or 2 for a command line that cannot be parsed.
    Raises:
      UserError: As `run`.
    """
    parser = argparse.ArgumentParser(
        prog="cellml tta-study",
        description="What test-time augmentation gains, per checkpoint and image.",
    )
    parser.add_argument(
        "--group",
        action="append",
        required=True,
        metavar="NAME=PATH",
        help="a condition and its checkpoints: a .safetensors file, a folder of them, the name of "
        "a shipped model, or a folder with one folder of label images per transform, predicted "
        "elsewhere; may be repeated",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where to write")
    parser.add_argument(
        "--data", default="dsb2018", metavar="NAME|DIR", help="a data set, or a folder of images"
    )
    parser.add_argument("--split", default="validation", help="split of the data set")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="folder of built data sets")
    parser.add_argument("--manual-dir", type=Path, metavar="DIR", help="original files of dsb2018")
    parser.add_argument("--tta", default="d4", choices=sorted(set(TTA_PRESETS) - {"none"}))
    parser.add_argument("--preset", default="kaggle", choices=sorted(SCORE_PRESETS))
    parser.add_argument("--limit", type=int, metavar="N", help="only N images, evenly spread")
    parser.add_argument("--chunk", type=int, default=2, help="copies of an image predicted at once")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap")
    try:
        options = parser.parse_args(list(arguments))
    except SystemExit as stop:  # argparse has printed help, or one line on what is wrong
        return int(stop.code or 0)
    run(groups=options.group, **{k: v for k, v in vars(options).items() if k != "group"})
    return 0


def run(
    *,
    groups: Sequence[str],
    out: Path,
    data: str = "dsb2018",
    split: str = "validation",
    data_dir: Path | None = None,
    manual_dir: Path | None = None,
    tta: str = "d4",
    preset: str = "kaggle",
    limit: int | None = None,
    chunk: int = 2,
    seed: int = 0,
    console: Console | None = None,
) -> dict[str, Any]:
    """Runs the study and writes tables, summary and figures into `out`.

    Args:
      groups: "name=path" each: a condition and its checkpoints. A path is a weights file, a folder
        of them (the last number in a file's name is its epoch), the name of a shipped model, or a
        folder of predictions made elsewhere, see `cellml.commands.tta_folders`.
      out: Folder for per_image.csv, per_image.parquet, summary.json, summary.txt,
        epochs_<score>.png/.svg, cases.png/.svg and, if a group merges objects,
        deltas_ap_dsb2018.png/.svg.
      data: Data set of `cellml.datasets`, or a folder with images and labels.
      split: Split of the data set; a folder has none.
      data_dir: Where built data sets lie.
      manual_dir: Folder with the original files of the data set.
      tta: Preset of `cellml.tta` to compare with none.
      preset: Definition of the instance score.
      limit: At most so many images, evenly spread over the source.
      chunk: Transformed copies predicted at once.
      seed: Of the bootstrap.
      console: Where to print.
    Returns:
      What is written to summary.json.
    Raises:
      UsageError: A group, preset or number is of no use.
      UserError: A data set, checkpoint or image cannot be read.
    """
    console = console or plain_console()
    if tta not in TTA_PRESETS or tta == "none":
        raise UsageError(f"--tta {tta}: expected one of {', '.join(set(TTA_PRESETS) - {'none'})}")
    if preset not in SCORE_PRESETS:
        raise UsageError(f"--preset {preset}: expected one of {', '.join(SCORE_PRESETS)}")
    if (limit is not None and limit < 1) or chunk < 1:
        raise UsageError("--limit and --chunk: at least 1 expected")
    checkpoints = find_checkpoints(groups)
    source = limited(open_source(data, split, data_dir, manual_dir), limit)
    check_predictions(checkpoints, source, tta=tta)
    settings = {
        "groups": list(groups),
        "data": str(data),
        "split": None if Path(data).is_dir() else split,
        "n_images": len(source),
        "tta": tta,
        "preset": preset,
        "limit": limit,
        "seed": seed,
    }

    models = [partial(load_study_model, *name, tta=tta, chunk=chunk) for name in checkpoints]
    return study(models, source, out, settings=settings, console=console)


def study(
    models: Sequence[Callable[[], StudyModel]],
    source: Sequence[Mapping[str, Any]],
    out: Path,
    *,
    settings: Mapping[str, Any],
    console: Console,
) -> dict[str, Any]:
    """The study of given models; `run` is this with files and options around it.

    Args:
      models: One function per checkpoint that returns its `StudyModel`, so that only one is in
        memory; by group, then by epoch.
      source: Records with id, image, labels and modality.
      out: Folder to write into.
      settings: "tta", "preset" and "seed", and whatever else summary.json should say.
      console: Where to print.
    Returns:
      What is written to summary.json.
    """
    if not len(source):
        raise UserError("no images to evaluate")
    rows: list[dict[str, Any]] = []
    last: dict[str, Callable[[], StudyModel]] = {}
    instance_groups: list[str] = []
    for load in models:
        model = load()
        rows += score_rows(model, source, preset=settings["preset"])
        last[model.group] = load
        if model.instances and model.group not in instance_groups:
            instance_groups.append(model.group)
        _say_means(model, rows[-len(source) :], console)
    result = {"settings": dict(settings), **summarise_rows(rows, seed=settings["seed"])}
    result["instance_groups"] = instance_groups
    _write_table(rows, out)
    write_json(out / "summary.json", result)
    for score in SCORES:
        curves = _epoch_scores(rows, result, score)
        if curves:
            draw_epochs(curves, out / f"epochs_{score}", score=SCORE_NAMES[score])
        of_objects = [curve for curve in curves if curve.group in instance_groups]
        if of_objects and score == "ap_dsb2018":
            draw_deltas(of_objects, out / f"deltas_{score}", score=SCORE_NAMES[score])
    draw_cases(_gallery(rows, last, source), out / "cases")
    with atomic(out / "summary.txt") as temporary:
        temporary.write_text(summary_text(result), encoding="utf-8")
    console.print(summary_text(result), markup=False, highlight=False, soft_wrap=True)
    console.print(f"written to {out}", markup=False, soft_wrap=True)
    return result


def _say_means(model: StudyModel, rows: Sequence[Mapping[str, Any]], console: Console) -> None:
    """One line a checkpoint, while the study runs."""
    score = "ap_dsb2018" if model.instances else "iou"
    means = [np.mean([row[f"{score}_{method}"] for row in rows]) for method in METHODS]
    console.print(
        f"{model.group} {model.checkpoint}: mean {SCORE_NAMES[score]} {means[0]:.4f}, with TTA "
        f"{means[1]:.4f} ({means[1] - means[0]:+.4f}), dilated {means[2]:.4f}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def _write_table(rows: Sequence[Mapping[str, Any]], out: Path) -> None:
    table = pa.Table.from_pylist([dict(row) for row in rows], schema=ROW_SCHEMA)
    with atomic(out / "per_image.csv") as temporary:
        csv.write_csv(table, temporary)
    with atomic(out / "per_image.parquet") as temporary:
        parquet.write_table(table, temporary)


def _epoch_scores(
    rows: Sequence[Mapping[str, Any]], result: Mapping[str, Any], score: str
) -> list[EpochScores]:
    """What figure 14 shows of one score; checkpoints without any defined score are left out."""
    groups = []
    for group in dict.fromkeys(row["group"] for row in rows):
        entries = [
            entry
            for entry in result["checkpoints"]
            if entry["group"] == group and entry["modality"] == EVERY and entry[score]["delta"]
        ]
        if not entries:
            continue
        deltas = [
            np.array([r[f"{score}_delta"] for r in rows if _is_of(r, entry)], float)
            for entry in entries
        ]
        groups.append(
            EpochScores(
                group=group,
                epochs=[entry["epoch"] for entry in entries],
                means={m: [entry[score][m] for entry in entries] for m in METHODS},
                deltas=[values[np.isfinite(values)] for values in deltas],
                intervals=[
                    (entry[score]["delta"]["low95"], entry[score]["delta"]["high95"])
                    for entry in entries
                ],
                dilated=[entry[score]["delta_dilated"]["mean"] for entry in entries],
            )
        )
    return groups


def _is_of(row: Mapping[str, Any], entry: Mapping[str, Any]) -> bool:
    return (row["group"], row["checkpoint"]) == (entry["group"], entry["checkpoint"])


def _gallery(
    rows: Sequence[Mapping[str, Any]],
    last: Mapping[str, Callable[[], StudyModel]],
    source: Sequence[Mapping[str, Any]],
) -> list[CasePanels]:
    """The last checkpoint of every group on the images of best, median and worst change of IoU."""
    cases = []
    for group, load in last.items():
        model = load()
        own = [r for r in rows if (r["group"], r["checkpoint"]) == (group, model.checkpoint)]
        own.sort(key=lambda row: row["iou_delta"])
        for place in dict.fromkeys((len(own) - 1, (len(own) - 1) // 2, 0)):
            cases.append(_case(model, own[place], source[own[place]["row"]]))
    return cases


def _case(model: StudyModel, row: Mapping[str, Any], record: Mapping[str, Any]) -> CasePanels:
    image, labels = np.asarray(record["image"]), np.asarray(record["labels"])
    copies = model.predict(record)
    found = variants(copies)
    none, tta = found["none"].foreground, found["tta"].foreground
    window = _window(none != tta)
    return CasePanels(
        title=f"{model.group}\n{str(row['id'])[:12]}\nΔIoU {row['iou_delta']:+.4f}",
        image=image[window],
        true=labels[window] > 0,
        none=none[window],
        tta=tta[window],
        probability=copies.probability.mean(axis=0)[window],
        uncertainty=copies.probability.std(axis=0)[window],
        scores=(foreground_iou(labels, none), foreground_iou(labels, tta)),
    )


def _window(changed: np.ndarray) -> tuple[slice, slice]:
    """The part of an image, at most `PANEL_PX` a side, with most changed pixels."""
    slices = []
    for axis in (0, 1):
        counts = changed.sum(axis=1 - axis)
        side = min(PANEL_PX, counts.size)
        sums = np.convolve(counts, np.ones(side, int), mode="valid")
        start = int(np.argmax(sums))
        slices.append(slice(start, start + side))
    return slices[0], slices[1]
