"""Peak memory and time of `cellml segment` on large images, through the real command.

    python benchmarks/bench_segment_large.py [--sides 2048 4096 8192] [--weights FILE] [--tta none]

Every size runs in a process of its own, so that peak memory is that run's. Images are synthetic
fluorescence fields, uint8, with one nucleus per 30 x 30 px. Prints the targets: peak below 3 GB at
8,192 x 8,192, and time per area no higher than at the next smaller size (linear or better; start
and compilation weigh on small images).
"""

import argparse
import datetime
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PEAK_MAX_GB = 3.0
LINEAR_MAX = 1.15
"""Time per area may grow by this much from one size to the next before it counts as superlinear."""


def make_image(path: Path, side_px: int) -> None:
    """Writes an uncompressed TIFF in bands, so that no whole image is ever held."""
    import numpy as np
    import tifffile

    out = tifffile.memmap(path, shape=(side_px, side_px), dtype=np.uint8, photometric="minisblack")
    y, x = np.mgrid[:512, :side_px]
    for row in range(0, side_px, 512):
        generator = np.random.default_rng(row)
        height = min(512, side_px - row)
        cells = (y[:height] + row) // 30, x[:height] // 30
        jitter = generator.uniform(-4, 4, (2, side_px // 30 + 2, side_px // 30 + 2))
        dy = (y[:height] + row) % 30 - 15 + jitter[0][cells]
        dx = x[:height] % 30 - 15 + jitter[1][cells]
        blob = np.exp(-((np.hypot(dy, dx) / 8) ** 6))
        uneven = 0.7 + 0.3 * np.sin(x[:height] / 900)
        noise = generator.normal(0, 6, (height, side_px))
        out[row : row + height] = np.clip(20 + 120 * blob * uneven + noise, 0, 255)
    out.flush()


def measure(side_px: int, options: list[str], folder: Path) -> tuple[float, float, int]:
    """Runs the command once.

    Args:
      side_px: Side of the square image.
      options: Passed on to `cellml segment`.
      folder: For the image and the results.

    Returns:
      Seconds, peak resident memory in GB (1e9 bytes), nuclei found.

    Raises:
      RuntimeError: The command failed.
    """
    image, out = folder / f"{side_px}.tif", folder / f"out{side_px}"
    subprocess.run([sys.executable, __file__, "--make", image, str(side_px)], check=True)
    command = [sys.executable, "-m", "cellml.cli", "segment", str(image), "--out", str(out)]
    started = time.perf_counter()
    process = subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    if code := os.waitstatus_to_exitcode(status):
        raise RuntimeError(f"cellml segment ended with exit code {code}")
    with (out / "nuclei.csv").open(encoding="utf-8") as table:
        nuclei = sum(1 for _ in table) - 1
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes there, in KiB elsewhere
    return seconds, usage.ru_maxrss * unit / 1e9, nuclei


def main() -> int:
    """Runs all sizes and prints a markdown table; returns 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--sides", type=int, nargs="+", default=[2048, 4096, 8192])
    parser.add_argument("--weights", help="a weights file; default: the shipped model")
    parser.add_argument("--tta", default="none")
    parser.add_argument("--make", nargs=2, metavar=("PATH", "SIDE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.make:
        make_image(Path(arguments.make[0]), int(arguments.make[1]))
        return 0
    options = ["--tta", arguments.tta]
    if arguments.weights:
        options += ["--weights", arguments.weights]
    load = os.getloadavg()[0]
    print(f"{datetime.date.today()}, {os.cpu_count()} cores, load average {load:.1f}, {options}\n")
    print("| side px | nuclei | time s | s per megapixel | ratio to previous | peak GB |")
    print("|---|---|---|---|---|---|")
    missed, before = False, None
    with tempfile.TemporaryDirectory() as folder:
        for side_px in sorted(arguments.sides):
            seconds, peak_gb, nuclei = measure(side_px, options, Path(folder))
            rate = seconds / (side_px**2 / 1e6)
            ratio = rate / before if before is not None else 1.0
            before = rate
            missed |= ratio > LINEAR_MAX or peak_gb > PEAK_MAX_GB
            print(
                f"| {side_px} | {nuclei} | {seconds:.1f} | {rate:.2f} | {ratio:.2f} "
                f"| {peak_gb:.2f} |",
                flush=True,
            )
    print(
        f"\ntargets: peak <= {PEAK_MAX_GB} GB, ratio <= {LINEAR_MAX}: {'no' if missed else 'met'}"
    )
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
