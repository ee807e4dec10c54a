"""`cellml segment`: finds the nuclei in images and writes labels, tables and pictures."""

import contextlib
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import cellml
from cellml.commands.long_work import say
from cellml.data.images import ImageFile, find_images, image_stem, read_image
from cellml.data.locations import locations_path, write_locations
from cellml.data.overlay import overlay_picture
from cellml.data.run_folder import RunFolder
from cellml.data.tables import nuclei_table
from cellml.data.writers import write_labels, write_png, write_rois, write_uncertainty
from cellml.errors import UsageError, UserError
from cellml.experiment.model_predictors import load_predictor
from cellml.experiment.predictor import Predictor, Segmented, segment_pixels

EXIT_FAILED, EXIT_INTERRUPTED = 1, 130


@dataclass(frozen=True)
class SegmentOptions:
    """What the user asked for; see `cellml segment --help`."""

    paths: Sequence[str]
    out: Path
    model: str = "nuclei"
    tta: str = "none"
    diameter_px: float | None = None
    channel: int | None = None
    tile_px: int = 1024
    uncertainty: bool = False
    overlay: bool = False
    rois: bool = False
    locations: bool = False
    resume: bool = False

    def settings(self, predictor: Predictor) -> dict[str, Any]:
        """What decides the results of a run, to be kept with it."""
        return {
            "cellml": cellml.__version__,
            **predictor.settings,
            "diameter_px": self.diameter_px,
            "channel": self.channel,
            "tile_px": self.tile_px,
            "uncertainty": self.uncertainty,
            "overlay": self.overlay,
            "rois": self.rois,
            "locations": self.locations,
        }


@dataclass
class _Tally:
    """Counts over a run."""

    images: int = 0
    skipped: int = 0
    failures: list[str] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)


def run(options: SegmentOptions, console: Console) -> int:
    """Segments all images; a damaged one does not stop the others.

    Args:
      options: See `SegmentOptions`.
      console: Where progress and the summary go.

    Returns:
      Exit code: 0, 1 if an image failed, 130 if interrupted.

    Raises:
      UsageError: The run cannot start: nothing has been written then.
    """
    files = find_images(options.paths, out=options.out)
    _check_options(options, files)
    predictor = load_predictor(options.model, tta=options.tta)
    folder = RunFolder(options.out, options.settings(predictor))
    folder.begin(resume=options.resume)
    tally, started = _Tally(), time.monotonic()
    try:
        with _terminate_as_interrupt():
            _segment_files(files, options, predictor, folder, tally, console)
            nuclei = folder.write_tables()
    except KeyboardInterrupt:
        folder.record("interrupted")
        say(
            console,
            f"Interrupted: {tally.images + tally.skipped} images are complete in {options.out}, "
            "nothing is half-written. Run the same command with --resume to go on.",
        )
        return EXIT_INTERRUPTED
    folder.record("complete", failed=tally.failures)
    _summarise(tally, nuclei, time.monotonic() - started, options.out, console)
    return EXIT_FAILED if tally.failures else 0


def _check_options(options: SegmentOptions, files: Sequence[Path]) -> None:
    if options.diameter_px is not None and not 1 <= options.diameter_px <= 2000:
        raise UsageError(f"--diameter-px {options.diameter_px:g}: 1 to 2000 expected")
    if options.channel is not None and options.channel < 1:
        raise UsageError(f"--channel {options.channel}: channels are counted from 1")
    if options.tile_px < 256:
        raise UsageError(f"--tile {options.tile_px}: at least 256 px expected")
    if options.locations:
        places: dict[Path, Path] = {}
        for file in files:
            other = places.setdefault(locations_path(file, image_stem(file)), file)
            if other != file:
                raise UsageError(
                    f"{other} and {file} are the same plate, well and site; with --locations "
                    "give one channel of every site"
                )


def _segment_files(
    files: Sequence[Path],
    options: SegmentOptions,
    predictor: Predictor,
    folder: RunFolder,
    tally: _Tally,
    console: Console,
) -> None:
    taken = {image_stem(file): file for file in files}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as progress:
        bar = progress.add_task("segmenting", total=len(files))
        for file in files:
            progress.update(bar, description=file.name)
            done = folder.done_file(file) if options.resume else 0
            tally.skipped += done
            if not done:
                with _noting_failure(tally, file):
                    opened = read_image(file)
                    tally.notes.update(opened.notes)
                    _check_page_names(opened, taken)
                    for page, stem in enumerate(opened.stems):
                        if options.resume and folder.done(stem, file):
                            tally.skipped += 1
                            continue
                        with _noting_failure(tally, file, stem):
                            _segment_page(opened, page, options, predictor, folder, progress)
                            tally.images += 1
            progress.advance(bar)


def _check_page_names(opened: ImageFile, taken: dict[str, Path]) -> None:
    for stem in opened.stems:
        other = taken.get(stem)
        if other is not None and other != opened.path:
            raise UserError(f"{opened.path}: its page {stem} has the name of {other}; rename one")


@contextlib.contextmanager
def _noting_failure(tally: _Tally, file: Path, stem: str | None = None) -> Iterator[None]:
    """Keeps an image's failure as one line instead of ending the run."""
    page = f" ({stem})" if stem is not None and stem != image_stem(file) else ""
    try:
        yield
    except UserError as error:
        tally.failures.append(f"{error}{page}")
    except MemoryError:
        tally.failures.append(f"{file}{page}: out of memory; try a smaller --tile")
    except Exception as error:
        if os.environ.get("CELLML_DEBUG"):
            raise
        reason = (str(error).splitlines() or [""])[0]
        tally.failures.append(
            f"{file}{page}: unexpected {type(error).__name__}: {reason} "
            "(CELLML_DEBUG=1 shows where)"
        )


def _segment_page(
    opened: ImageFile,
    page: int,
    options: SegmentOptions,
    predictor: Predictor,
    folder: RunFolder,
    progress: Progress,
) -> None:
    """Segments one page; either all of its files are there afterwards, or none."""
    stem = opened.stems[page]
    outputs = _outputs(options, opened.path, stem)
    folder.clear(stem, list(outputs.values()))
    bar = progress.add_task(f"  {stem}", total=1.0)
    try:
        pixels = opened.page(page, channel=options.channel)
        scale = 1.0 if options.diameter_px is None else predictor.diameter_px / options.diameter_px
        found = segment_pixels(
            predictor,
            pixels,
            scale=scale,
            tile_px=options.tile_px,
            keep_uncertainty=options.uncertainty,
            advance=lambda share: progress.advance(bar, share),
        )
        nuclei = nuclei_table(stem, found.sums)
        _write(outputs, options, pixels, found, nuclei, opened.pixel_size_um)
        folder.commit(
            stem, nuclei, source=opened.path, stems=opened.stems, outputs=list(outputs.values())
        )
    except BaseException:
        folder.clear(stem, list(outputs.values()))
        raise
    finally:
        progress.remove_task(bar)


def _outputs(options: SegmentOptions, image: Path, stem: str) -> dict[str, Path]:
    """Returns the files that an image gives, by kind."""
    wanted = {
        "labels": (True, f"{stem}_labels.tif"),
        "uncertainty": (options.uncertainty, f"{stem}_uncertainty.tif"),
        "overlay": (options.overlay, f"{stem}_overlay.png"),
        "rois": (options.rois, f"{stem}_rois.zip"),
        "locations": (options.locations, locations_path(image, stem)),
    }
    return {kind: options.out / name for kind, (asked, name) in wanted.items() if asked}


def _write(
    outputs: dict[str, Path],
    options: SegmentOptions,
    pixels: np.ndarray,
    found: Segmented,
    nuclei: pa.Table,
    pixel_size_um: float | None,
) -> None:
    write_labels(outputs["labels"], found.labels, pixel_size_um=pixel_size_um)
    if found.uncertainty is not None:
        kind = "entropy in bits" if options.tta == "none" else "variance over TTA"
        write_uncertainty(
            outputs["uncertainty"],
            found.uncertainty,
            kind=f"{kind} of the foreground probability",
            pixel_size_um=pixel_size_um,
        )
    if "overlay" in outputs:
        write_png(outputs["overlay"], overlay_picture(pixels, found.labels, found.limits))
    if "rois" in outputs:
        write_rois(outputs["rois"], found.labels)
    if "locations" in outputs:
        write_locations(outputs["locations"], nuclei)


@contextlib.contextmanager
def _terminate_as_interrupt() -> Iterator[None]:
    """Lets SIGTERM, which clusters send, end a run as cleanly as Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _summarise(tally: _Tally, nuclei: int, seconds: float, out: Path, console: Console) -> None:
    for note, count in sorted(tally.notes.items()):
        say(console, f"note: {note} ({count} {_plural('image', count)})")
    skipped = f", {tally.skipped} done before" if tally.skipped else ""
    total = tally.images + tally.skipped
    console.print(
        f"{total} {_plural('image', total)}{skipped}, {nuclei} nuclei, {seconds:.1f} s; "
        f"labels and nuclei.csv in {out}",
        soft_wrap=True,
        highlight=False,
        markup=False,
    )
    if tally.failures:
        console.print(f"{len(tally.failures)} failed:", style="bold red")
        for line in tally.failures:
            console.print(f"  {line}", soft_wrap=True, highlight=False, markup=False)


def _plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"
