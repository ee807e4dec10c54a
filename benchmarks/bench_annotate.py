"""Is annotating with the contour assist faster and better? A simulated annotator on real nuclei.

Every object is outlined by a lazy contour (`cellml.annotate.simulated_annotator`, which documents
the hand and the brush); the assist proposes; strokes of a brush are counted until the outline
reaches an IoU of 0.8 and 0.9. Images: the validation part of DSB2018, which the shipped model was
not trained on and no threshold of it chosen on. Prints tables for RESULTS.md.

    python benchmarks/bench_annotate.py --manual-dir DIR_WITH_DSB2018 [--objects 60] [--data-dir D]
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cellml import platform

platform.configure()  # as `cellml annotate` does, before jax is imported

import numpy as np  # noqa: E402

from benchmarks.timing import describe_machine, markdown_row  # noqa: E402
from cellml.annotate.assist import (  # noqa: E402
    METHODS,
    Assistant,
    NothingFoundError,
    mask_iou,
)
from cellml.annotate.outlines import fill_polygons  # noqa: E402
from cellml.annotate.simulated_annotator import (  # noqa: E402
    BRUSH_PX,
    LazyHand,
    count_strokes,
    lazy_contour,
)
from cellml.datasets import load_source  # noqa: E402
from cellml.metrics.bootstrap import paired_bootstrap  # noqa: E402

GOALS = (0.8, 0.9)
AREA_MIN_PX = 30
RESAMPLES = 2000


class Case(NamedTuple):
    """One object to annotate.

    Attributes:
      modality: As the data set has it.
      image_id: Its image.
      pixels: The image.
      truth: The object's mask.
      contour: The lazy contour.
    """

    modality: str
    image_id: str
    pixels: np.ndarray
    truth: np.ndarray
    contour: list[tuple[float, float]]


class Measured(NamedTuple):
    """One object under one method: IoU, strokes to each goal, milliseconds; NaN where not asked."""

    iou: float
    strokes: tuple[float, ...]
    wall_ms: float
    cpu_ms: float


def draw_cases(source: Sequence[Any], *, per_modality: int, seed: int) -> list[Case]:
    """Draws objects evenly from the images of each modality.

    Args:
      source: Records of a data set.
      per_modality: Objects of each.
      seed: Of the choice and of the hand.

    Returns:
      The cases.
    """
    rng = np.random.default_rng(seed)
    by_modality: dict[str, list[Any]] = {}
    for record in source:
        by_modality.setdefault(record["modality"], []).append(record)
    cases = []
    for modality, records in sorted(by_modality.items()):
        share = -(-per_modality // len(records))
        found = []
        for record in records:
            labels = record["labels"].astype(np.int32)
            area = np.bincount(labels.ravel())
            area[0] = 0
            ids = np.flatnonzero(area >= AREA_MIN_PX)
            for label in rng.choice(ids, min(share, len(ids)), replace=False):
                truth = labels == label
                contour = lazy_contour(rng, truth)
                found.append(Case(modality, record["id"], record["image"], truth, contour))
        keep = np.sort(rng.permutation(len(found))[:per_modality])
        cases += [found[i] for i in keep]
    return cases


def prompts(case: Case) -> dict[str, dict[str, Any]]:
    """The prompts of a case by name: the lazy contour, its box, and a click in the middle."""
    points = np.array(case.contour)
    rows, columns = np.nonzero(case.truth)
    middle = int(np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2))
    return {
        "contour": {"polygon": case.contour},
        "box": {"box": [*points.min(axis=0).tolist(), *points.max(axis=0).tolist()]},
        "click": {"point": [float(columns[middle]) + 0.5, float(rows[middle]) + 0.5]},
    }


def propose(assistant: Assistant, case: Case, **prompt: Any) -> tuple[np.ndarray, float, float]:
    """The mask that is proposed (empty if none), and the time it took on wall and processor."""
    started, cpu = time.perf_counter(), time.process_time()
    try:
        found = assistant.outline(
            lambda y0, x0, y1, x1: case.pixels[y0:y1, x0:x1], case.pixels.shape, **prompt
        ).polygons
    except NothingFoundError:
        found = ()
    wall_ms, cpu_ms = 1e3 * (time.perf_counter() - started), 1e3 * (time.process_time() - cpu)
    mask = fill_polygons(found, case.truth.shape) if found else np.zeros(case.truth.shape, bool)
    return mask, wall_ms, cpu_ms


def measure(assistant: Assistant, case: Case, brush_px: float) -> dict[str, Measured]:
    """All that is measured of a case, by name."""
    lazy = fill_polygons(((tuple(case.contour),),), case.truth.shape)

    def judged(mask: np.ndarray, wall_ms: float, cpu_ms: float, *, brush: bool) -> Measured:
        strokes: tuple[float, ...] = (np.nan,) * len(GOALS)
        if brush:
            strokes = tuple(count_strokes(mask, case.truth, goals=GOALS, radius_px=brush_px))
        return Measured(mask_iou(mask, case.truth), strokes, wall_ms, cpu_ms)

    given = prompts(case)
    found = {"no assist": judged(lazy, 0.0, 0.0, brush=True)}
    for method in METHODS:
        mask, wall, cpu = propose(assistant, case, method=method, **given["contour"])
        found[method] = judged(mask, wall, cpu, brush=True)
    for name in ("box", "click"):
        mask, wall, cpu = propose(assistant, case, method="unet", **given[name])
        found[f"unet, {name}"] = judged(mask, wall, cpu, brush=False)
    return found


def interval_of(
    values: np.ndarray, groups: Sequence[str], statistic: Callable[[np.ndarray], Any]
) -> str:
    """A statistic with its 95 % interval from resampling whole images."""
    rng = np.random.default_rng(0)
    names = sorted(set(groups))
    parts = [values[np.array(groups) == name] for name in names]
    draws = [
        float(
            statistic(np.concatenate([parts[i] for i in rng.integers(0, len(parts), len(parts))]))
        )
        for _ in range(RESAMPLES)
    ]
    low, high = np.quantile(draws, [0.025, 0.975])
    return f"{float(statistic(values)):.2f} ({low:.2f}-{high:.2f})"


def saved(without: np.ndarray, with_it: np.ndarray, groups: Sequence[str]) -> str:
    """Strokes saved an object: mean over images, with its 95 % interval."""
    difference = without - with_it
    by_image = [difference[np.array(groups) == name].mean() for name in sorted(set(groups))]
    found = paired_bootstrap(0, by_image)
    return f"{found.mean:+.1f} ({found.low:+.1f} to {found.high:+.1f})"


def report(cases: Sequence[Case], results: Sequence[dict[str, Measured]]) -> None:
    """Prints the table of quality and strokes."""
    print(
        "| modality | objects (images) | outline | IoU, median | share below .5 | worse than lazy "
        "| strokes to .8, mean | strokes to .9, mean | saved to .8 | saved to .9 |\n"
        "|---|---|---|---|---|---|---|---|---|---|"
    )
    for modality in sorted({case.modality for case in cases}):
        rows = [i for i, case in enumerate(cases) if case.modality == modality]
        groups = [cases[i].image_id for i in rows]
        lazy = [results[i]["no assist"] for i in rows]
        for name in results[0]:
            mine = [results[i][name] for i in rows]
            iou = np.array([one.iou for one in mine])
            cells = [modality, f"{len(rows)} ({len(set(groups))})", name]
            cells.append(interval_of(iou, groups, np.median))
            cells.append(f"{np.mean(iou < 0.5):.0%}")
            worse = np.mean(iou < np.array([one.iou for one in lazy]))
            cells.append("" if name == "no assist" else f"{worse:.0%}")
            strokes = np.array([one.strokes for one in mine], float)
            before = np.array([one.strokes for one in lazy], float)
            brushed = not np.isnan(strokes).any()
            for k in range(len(GOALS)):
                cells.append(interval_of(strokes[:, k], groups, np.mean) if brushed else "")
            for k in range(len(GOALS)):
                compared = brushed and name != "no assist"
                cells.append(saved(before[:, k], strokes[:, k], groups) if compared else "")
            print(markdown_row(*cells))


def report_times(results: Sequence[dict[str, Measured]]) -> None:
    """Prints the table of times."""
    print("\n| proposal | wall ms, median | wall ms, 95th percentile | processor ms, median |")
    print("|---|---|---|---|")
    for name in results[0]:
        if name == "no assist":
            continue
        wall = [one[name].wall_ms for one in results]
        cpu = float(np.median([one[name].cpu_ms for one in results]))
        middle, high = (float(np.quantile(wall, q)) for q in (0.5, 0.95))
        print(markdown_row(name, f"{middle:.0f}", f"{high:.0f}", f"{cpu:.0f}"))


def main() -> None:
    """Draws, measures, prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--manual-dir", required=True, help="folder with DSB2018 stage1_train")
    parser.add_argument("--data-dir", help="where the data set is built (default: a temporary one)")
    parser.add_argument("--model", default="nuclei")
    parser.add_argument("--objects", type=int, default=60, help="of each modality")
    parser.add_argument("--brush-px", type=float, default=BRUSH_PX, help="radius of the brush")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source = load_source(
            "dsb2018",
            "validation",
            data_dir=arguments.data_dir or folder,
            manual_dir=arguments.manual_dir,
        )
        cases = draw_cases(source, per_modality=arguments.objects, seed=arguments.seed)
    assistant = Assistant.load(arguments.model)
    assistant.warm_up()
    print(f"{describe_machine('jax')}\n{LazyHand()}, brush of radius {arguments.brush_px} px\n")
    results = [measure(assistant, case, arguments.brush_px) for case in cases]
    report(cases, results)
    report_times(results)
    print(f"\nload average at the end {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
