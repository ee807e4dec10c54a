"""Average precision against copairs, sphering against pycytominer, nulls against copairs.

    python benchmarks/bench_profiling.py [--sizes 1000 6000] [--repeats 3] [--skip-sphering]

Both sides run in one process on the same data and take turns, so that a busy machine slows both;
results are compared before they are timed. On a busy machine set OPENBLAS_NUM_THREADS=1: threads
that wait for each other cost both sides several times the work. Times are elapsed and processor
seconds, medians of the repeats. Needs `pip install copairs pycytominer`.
"""

import argparse
import datetime
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cellml import platform

platform.select_device("cpu")
platform.configure()

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import psutil  # noqa: E402
import scipy.linalg  # noqa: E402

from cellml.metrics.relations import same_group  # noqa: E402
from cellml.metrics.retrieval import score_queries  # noqa: E402
from cellml.metrics.significance import ap_of_places, random_places  # noqa: E402
from cellml.profiling.sphering import control_spectrum, sphere  # noqa: E402

N_FEATURES = 672
PER_TREATMENT = 10
TOLERANCE = 1e-6
SINGLE_PRECISION = 5e-7
"""Similarities that are closer than this tie in single precision, in which both compute them."""


def screen(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Wells that resemble those of their own treatment a little."""
    rng = np.random.default_rng(0)
    groups = np.arange(n) // PER_TREATMENT
    centres = 0.3 * rng.normal(size=(groups[-1] + 1, N_FEATURES))
    return (rng.normal(size=(n, N_FEATURES)) + centres[groups]).astype(np.float32), groups


def take_turns(runs: dict[str, Callable[[], Any]], repeats: int) -> None:
    """Prints the median seconds of each, and the ratio of the second to the first."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            start, used = time.perf_counter(), time.process_time()
            run()
            times[name].append((time.perf_counter() - start, time.process_time() - used))
    wall = {name: statistics.median(t[0] for t in values) for name, values in times.items()}
    cpu = {name: statistics.median(t[1] for t in values) for name, values in times.items()}
    for name in runs:
        print(f"  {name:28s} {wall[name]:9.3f} s wall {cpu[name]:9.3f} s processor")
    ours, peer = list(runs)
    print(f"  ratio {wall[peer] / wall[ours]:.1f}x wall, {cpu[peer] / cpu[ours]:.1f}x processor")


def peak_memory_mb(run: Callable[[], Any]) -> float:
    """Most memory above that at the start, in MB."""
    process = psutil.Process()
    start, most, done = process.memory_info().rss, [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.005):
            most[0] = max(most[0], process.memory_info().rss - start)

    thread = threading.Thread(target=watch)
    thread.start()
    run()
    done.set()
    thread.join()
    return most[0] / 1e6


def closest_gap(profiles: np.ndarray, groups: np.ndarray, query: int) -> float:
    """Smallest difference, in float64, between a right and a wrong answer of a query."""
    rows = profiles.astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    similarity = rows @ rows[query]
    right = (groups == groups[query]) & (np.arange(len(groups)) != query)
    wrong = np.sort(similarity[groups != groups[query]])
    at = np.searchsorted(wrong, similarity[right])
    below, above = wrong[np.maximum(at - 1, 0)], wrong[np.minimum(at, wrong.size - 1)]
    return float(np.minimum(abs(similarity[right] - below), abs(above - similarity[right])).min())


def bench_average_precision(n: int, repeats: int) -> None:
    from copairs.map import average_precision

    profiles, groups = screen(n)
    table = pd.DataFrame({"group": groups})
    relation = same_group(groups)

    def ours() -> np.ndarray:
        return score_queries(profiles, relation).ap

    def peer() -> np.ndarray:
        found = average_precision(table, profiles, ["group"], [], [], ["group"], progress_bar=False)
        return found["average_precision"].to_numpy()

    first, second = ours(), peer()
    differ = np.flatnonzero(np.abs(first - second) > TOLERANCE)
    print(
        f"average precision, {n} x {N_FEATURES}: {n - differ.size} queries equal to {TOLERANCE}, "
        f"{differ.size} not, mAP {first.mean():.7f} and {second.mean():.7f}"
    )
    for query in differ:
        gap = closest_gap(profiles, groups, int(query))
        assert gap < SINGLE_PRECISION, f"query {query} has no tie: closest gap {gap:.1e}"
    take_turns({"cellml": ours, f"copairs {version('copairs')}": peer}, repeats)


def bench_memory(n: int) -> None:
    profiles, groups = screen(n)
    used = peak_memory_mb(lambda: score_queries(profiles, same_group(groups)))
    print(f"average precision, {n} x {N_FEATURES}: {used:.0f} MB above the profiles")


def bench_null(repeats: int) -> None:
    from copairs.compute import null_dist_cached

    n, right, size = 9215, 20, 10_000
    seeds = iter(range(10**6))

    def ours() -> np.ndarray:
        return ap_of_places(random_places(np.random.default_rng(next(seeds)), right, n, size))

    def peer() -> np.ndarray:
        return null_dist_cached(right, n, next(seeds), size, Path(tempfile.mkdtemp()))

    try:
        peer()
    except TypeError as error:
        print(f"null distribution: copairs {version('copairs')} is called otherwise ({error})")
        return
    print(f"null distribution, {size} samples of {right} among {n}")
    take_turns({"cellml": ours, f"copairs {version('copairs')}": peer}, repeats)


def bench_sphering(repeats: int) -> None:
    from pycytominer import normalize

    rng = np.random.default_rng(1)
    m, f, n = 7627, 3360, 1279
    mix = rng.normal(size=(200, f))
    profiles = rng.normal(size=(m, 200)) @ mix + rng.normal(size=(m, f))
    controls, regularisation = profiles[:n], 1e-2

    def ours() -> np.ndarray:
        return sphere(profiles, control_spectrum(controls), regularisation=regularisation)

    names = [f"Cells_{i}" for i in range(f)]
    table = pd.DataFrame(profiles, columns=names).assign(Metadata_control=np.arange(m) < n)

    def peer() -> pd.DataFrame:
        return normalize(
            table,
            features=names,
            meta_features=["Metadata_control"],
            samples="Metadata_control",
            method="spherize",
            spherize_method="ZCA",
            spherize_epsilon=1e-2,
        )

    found = ours()
    mean = controls.mean(0)
    values, vectors = scipy.linalg.eigh((controls - mean).T @ (controls - mean) / n)
    weights = 1 / np.sqrt(np.maximum(values, 0) + regularisation)
    expected = ((profiles - mean) @ (vectors * weights)) @ vectors.T
    difference = np.abs(found - expected).max()
    print(f"sphering {m} x {f}, {n} controls: difference from eigh {difference:.1e}")
    assert difference < 1e-6, "not the formula"
    del expected, vectors
    take_turns({"cellml": ours, f"pycytominer {version('pycytominer')}": peer}, repeats)


def main() -> None:
    parser = argparse.ArgumentParser(description="Profiling against copairs, pycytominer")
    parser.add_argument("--sizes", type=int, nargs="*", default=[1000, 6000])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--skip-sphering", action="store_true")
    args = parser.parse_args()
    print(f"{datetime.date.today()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for n in args.sizes:
        bench_average_precision(n, args.repeats if n <= 2000 else 1)
    bench_memory(10_000)
    bench_null(args.repeats)
    if not args.skip_sphering:
        bench_sphering(min(args.repeats, 2))
    print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
