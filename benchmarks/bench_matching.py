"""mAP_DSB of 100 label images against stardist and cellpose, in one process.

    python benchmarks/bench_matching.py [--images 100] [--repeats 5] [--markdown]

Everyone scores the same images at ten IoU thresholds: cellml's host entry and its jitted, batched
function, `stardist.matching.matching_dataset` and `cellpose.metrics.average_precision`. The
repeats of all take turns, so that a busy machine slows all of them. Agreement is checked to 1e-6
under the preset of each peer. Needs `pip install stardist` and `pip install --no-deps cellpose`
(with torch, numba, fastremap, natsort, roifile, opencv-python-headless, fill-voids, imagecodecs,
tifffile, tqdm); a peer that is not there is left out.
"""

import argparse
import datetime
import importlib
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cellml.metrics import (
    DSB2018_THRESHOLDS,
    InstanceScores,
    ap_dsb2018,
    evaluate_labels,
    summarise,
)

LEVELS = list(DSB2018_THRESHOLDS)
TOLERANCE = 1e-6


def draw_discs(centres: np.ndarray, size_px: int) -> np.ndarray:
    """Paints discs given as rows (y, x, radius) with ids 1, 2, ..., int32."""
    labels = np.zeros((size_px, size_px), np.int32)
    for k, (y, x, r) in enumerate(centres, 1):
        y0, x0 = int(max(0, y - r)), int(max(0, x - r))
        y1, x1 = int(min(size_px, y + r + 2)), int(min(size_px, x + r + 2))
        yy, xx = np.mgrid[y0:y1, x0:x1]
        labels[y0:y1, x0:x1][(yy - y) ** 2 + (xx - x) ** 2 < r * r] = k
    return labels


def make_pair(rng: np.random.Generator, size_px: int, n_objects: int):
    """Some `n_objects` discs; the prediction is moved, resized, and lacks one in twenty."""
    side = int(np.ceil(np.sqrt(n_objects)))
    grid = np.stack(np.meshgrid(*[np.arange(side)] * 2, indexing="ij"), -1).reshape(-1, 2)
    grid = grid[rng.permutation(len(grid))[:n_objects]]
    step = size_px / side
    centres = (grid + 0.5) * step + rng.uniform(-0.15, 0.15, grid.shape) * step
    radius = rng.uniform(0.25, 0.5, (len(grid), 1)) * step
    truth = np.hstack([centres, radius])
    found = np.hstack(
        [
            centres + rng.normal(0, 0.06, grid.shape) * step,
            radius * np.exp(rng.normal(0, 0.08, radius.shape)),
        ]
    )
    pred = draw_discs(found[rng.random(len(found)) > 0.05], size_px)
    return draw_discs(truth, size_px), pred


def optional(name: str) -> ModuleType | None:
    """Imports a peer, or says why it is left out."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(name)
    except ImportError as error:
        print(f"{name} is left out: {error}")
        return None


def ours(true: list[np.ndarray], pred: list[np.ndarray], preset: str) -> InstanceScores:
    return summarise(
        [evaluate_labels(t, p, preset=preset) for t, p in zip(true, pred, strict=True)]
    )


def check_agreement(true, pred, stardist: Any, cellpose: Any, jitted: Callable) -> None:
    """Compares every number that the peers give; raises at the first difference."""
    kaggle = np.array([evaluate_labels(t, p).ap_dsb2018 for t, p in zip(true, pred, strict=True)])
    np.testing.assert_allclose(jitted(), kaggle, atol=TOLERANCE)
    if stardist:
        expected = stardist.matching_dataset(true, pred, thresh=LEVELS, show_progress=False)
        found = ours(true, pred, "stardist")
        for name, peer in (
            ("tp", "tp"),
            ("fp", "fp"),
            ("fn", "fn"),
            ("precision", "precision"),
            ("recall", "recall"),
            ("f1", "f1"),
            ("ap", "accuracy"),
            ("mean_matched_iou", "mean_matched_score"),
        ):
            values = [getattr(e, peer) for e in expected]
            np.testing.assert_allclose(getattr(found, name), values, rtol=TOLERANCE, err_msg=name)
        np.testing.assert_allclose(found.pq, expected[0].panoptic_quality, rtol=TOLERANCE)
    if cellpose:
        ap, tp, fp, fn = cellpose.average_precision(true, pred, threshold=LEVELS)
        for k, (t, p) in enumerate(zip(true, pred, strict=True)):
            found = evaluate_labels(t, p, preset="cellpose")
            np.testing.assert_allclose(found.ap, ap[k], atol=TOLERANCE)
            np.testing.assert_array_equal([found.tp, found.fp, found.fn], [tp[k], fp[k], fn[k]])
    print(f"agreement: every number of every peer within {TOLERANCE}")


def take_turns(
    runs: dict[str, Callable[[], Any]], repeats: int
) -> dict[str, list[tuple[float, float]]]:
    """Returns wall and processor seconds of each, after one run to warm up."""
    for run in runs.values():
        run()
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            start, used = time.perf_counter(), time.process_time()
            run()
            times[name].append((time.perf_counter() - start, time.process_time() - used))
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description="mAP_DSB against stardist and cellpose")
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--size-px", type=int, default=512)
    parser.add_argument("--objects", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--markdown", action="store_true", help="print lines for RESULTS.md")
    args = parser.parse_args()

    rng = np.random.default_rng(0)
    pairs = [make_pair(rng, args.size_px, args.objects) for _ in range(args.images)]
    true, pred = ([p[side] for p in pairs] for side in (0, 1))
    max_instances = -(-(args.objects + 1) // 32) * 32
    score = jax.jit(partial(ap_dsb2018, max_instances=max_instances))

    def jitted() -> np.ndarray:
        """From host arrays to host numbers."""
        return np.array([score(t, p) for t, p in zip(true, pred, strict=True)])

    stardist, cellpose = optional("stardist.matching"), optional("cellpose.metrics")
    check_agreement(true, pred, stardist, cellpose, jitted)
    runs = {
        "cellml, host (all scores)": lambda: ours(true, pred, "kaggle"),
        "cellml, jit": jitted,
    }
    if stardist:
        runs[f"stardist {version('stardist')}"] = lambda: stardist.matching_dataset(
            true, pred, thresh=LEVELS, show_progress=False
        )
    if cellpose:
        runs[f"cellpose {version('cellpose')}"] = lambda: cellpose.average_precision(
            true, pred, threshold=LEVELS
        )
    load = os.getloadavg()[0]
    times = take_turns(runs, args.repeats)
    report(times, args, f"load {load:.1f} to {os.getloadavg()[0]:.1f}")


def version(name: str) -> str:
    from importlib.metadata import version as installed

    return installed(name)


def report(
    times: dict[str, list[tuple[float, float]]], args: argparse.Namespace, load: str
) -> None:
    """Prints medians and the ratios to cellml's two ways, as text or as Markdown."""
    wall = {name: statistics.median(w for w, _ in values) for name, values in times.items()}
    cpu = {name: statistics.median(c for _, c in values) for name, values in times.items()}
    host, jit = list(times)[:2]
    title = (
        f"mAP_DSB, {args.images} images of {args.size_px}x{args.size_px}, {args.objects} objects, "
        f"{len(LEVELS)} thresholds; {args.repeats} repeats in turns, median (range); {load}"
    )
    columns = ["ms per image, wall", "processor ms", "wall / host", "wall / jit", "cpu / host"]
    columns.append("cpu / jit")
    if args.markdown:
        print(
            f"\n{datetime.date.today()}, {os.cpu_count()} cores, {jax.default_backend()}. {title}"
        )
        print("\n| | " + " | ".join(columns) + " |\n|" + "---|" * (len(columns) + 1))
    else:
        print(f"\n{title}\n" + " " * 28 + "".join(f"{c:>21s}" for c in columns))
    for name, values in times.items():
        ms = [1e3 * w / args.images for w in (wall[name], min(values)[0], max(values)[0])]
        cells = [
            f"{ms[0]:.2f} ({ms[1]:.2f}-{ms[2]:.2f})",
            f"{1e3 * cpu[name] / args.images:.2f}",
            *(f"{wall[name] / wall[base]:.1f}x" for base in (host, jit)),
            *(f"{cpu[name] / cpu[base]:.1f}x" for base in (host, jit)),
        ]
        if args.markdown:
            print(f"| {name} | " + " | ".join(cells) + " |")
        else:
            print(f"{name:28s}" + "".join(f"{c:>21s}" for c in cells))


if __name__ == "__main__":
    main()
