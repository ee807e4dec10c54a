"""The chapters of the tour, and the run that puts them on a page."""

import os
import platform as system
import sys
from collections.abc import Callable
from datetime import datetime
from importlib import metadata
from pathlib import Path

import jax

import cellml
from cellml.data.writers import write_json
from cellml.demo.activity import activity_chapter
from cellml.demo.augmentation import augmentation_chapter
from cellml.demo.nuclei import nuclei_chapter
from cellml.demo.profiling import profiling_chapter
from cellml.demo.settings import DemoRun, DemoSize, Stopwatch
from cellml.demo.training import training_chapter
from cellml.report.html import Chapter, write_report

CHAPTERS: tuple[Callable[[DemoRun], Chapter], ...] = (
    nuclei_chapter,
    augmentation_chapter,
    training_chapter,
    profiling_chapter,
    activity_chapter,
)
"""One function per chapter, in the order of the report. A pillar adds its own here."""

REPORT, NUMBERS = "report.html", "numbers.json"
PACKAGES = ("jax", "flax", "optax", "numpy", "scikit-image", "tensorflow-datasets", "grain")
INTRODUCTION = (
    "cellml turns microscope images of cells into nuclei, features and predictions. This page was "
    "made on your machine a moment ago: every number and picture in it was computed in this run."
)


def write_tour(out: Path, *, model: str | Path, size: DemoSize, say: Callable[[str], None]) -> Path:
    """Runs all chapters and writes the report.

    Args:
      out: Folder for everything that is written.
      model: Name or path of a segmenter.
      size: How much is done.
      say: Prints a line of progress.
    Returns:
      Path of the report.
    Raises:
      ValueError: Unknown model.
    """
    run = DemoRun(out, model, size, say)
    watch = Stopwatch()
    chapters, seconds = [], {}
    for i, make in enumerate(CHAPTERS, start=1):
        chapter_watch = Stopwatch()
        say(f"chapter {i} of {len(CHAPTERS)}: {make.__name__.replace('_', ' ')}")
        chapter = make(run)
        chapters.append(chapter)
        seconds[chapter.title] = chapter_watch.seconds
    run.numbers |= {"seconds": seconds, "total_seconds": watch.seconds}
    facts = {**run.facts, **_facts(run, seconds, watch.seconds)}
    write_json(out / NUMBERS, run.numbers)
    write_report(out / REPORT, "A tour of cellml", INTRODUCTION, chapters, facts)
    return out / REPORT


def _facts(run: DemoRun, seconds: dict[str, float], total: float) -> dict[str, str]:
    devices = jax.devices()
    backend = jax.default_backend()
    kinds = ", ".join(sorted({device.device_kind for device in devices}))
    return {
        "cellml": cellml.__version__,
        "Model": str(run.model),
        "Date": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        "Computed on": f"{len(devices)} x {backend} ({kinds}), {os.cpu_count()} CPU cores"
        + ("; no accelerator was used" if backend == "cpu" else ""),
        "Machine": f"{system.system()} {system.release()}, {system.machine()}",
        "Python": sys.version.split()[0],
        "Packages": ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES),
        "Time": f"{total:.0f} s in all: "
        + ", ".join(f"{title} {value:.0f} s" for title, value in seconds.items()),
        "Files": f"{NUMBERS} holds the numbers of this page, images/ the pictures and the label "
        "images, training/ the checkpoints and logs, screen/ and assays/ their simulated data",
        "Pictures": "Tissue: scikit-image, ihc.png (Center for Microscopy and Molecular Imaging, "
        "no known copyright restrictions). All others are simulated by cellml.",
        "Again": "make demo, or cellml demo --out FOLDER",
    }
