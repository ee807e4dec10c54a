"""`cellml profile export`: a project's single cells into a store, and DeepProfiler's strips."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from cellml.commands.long_work import EXIT_INTERRUPTED, count, say, showing, terminate_as_interrupt
from cellml.commands.profile_outputs import output_folder
from cellml.data.cell_export import export_settings, write_store
from cellml.data.cell_store import CellStore
from cellml.data.cell_strips import export_strips, import_strips
from cellml.data.crops import Status
from cellml.data.painting_project import COMPRESSED, Project, open_project
from cellml.data.prepare import prepared_project
from cellml.data.writers import remove_temporary
from cellml.errors import UsageError

IMAGES = ("auto", "prepared", "original")
STORE = "single-cells"


@dataclass(frozen=True)
class ExportOptions:
    """What the user asked for; see `cellml profile export --help`.

    What is None follows the project's configuration, as in `export_settings`.
    """

    project: Path
    store: str = STORE
    side_px: int | None = None
    mode: str | None = None
    normalisation: str | None = None
    dtype: str | None = None
    masks: str | None = None
    missing_locations: str | None = None
    images: str = "auto"
    workers: int = 1
    strips: Path | None = None
    from_strips: Path | None = None
    config: str | None = None


def run(options: ExportOptions, console: Console) -> int:
    """Writes a store of single cells; goes on where an interrupted run stopped.

    Cells whose files or settings changed are cut again, all others are kept.

    Args:
      options: See `ExportOptions`.
      console: Where progress and the summary go.

    Returns:
      Exit code: 0, or 130 if interrupted.

    Raises:
      UserError: An image, a locations file or a strip is missing or wrong.
      UsageError: Options do not fit each other or the images.
    """
    _check(options)
    project = open_project(options.project, config=options.config)
    label = project.settings("export")["dataset.metadata.label_field"]
    folder = output_folder(project.root, options.store, "--store")
    try:
        with terminate_as_interrupt():
            if options.from_strips is not None:
                with showing("reading strips", console) as progress:
                    store = import_strips(
                        options.from_strips,
                        folder,
                        channels=project.channels,
                        label_field=label,
                        progress=progress,
                    )
            else:
                store = _cut(_images(project, options.images), folder, options, console)
            _summarise(store, console)
            if options.strips is not None:
                with showing("writing strips", console) as progress:
                    strips = export_strips(
                        store, options.strips, label_field=label, progress=progress
                    )
                say(console, f"{strips} strips in {options.strips}")
    except KeyboardInterrupt:
        say(console, "Interrupted: nothing is half-written. Run the same command to go on.")
        return EXIT_INTERRUPTED
    return 0


def _check(options: ExportOptions) -> None:
    if options.workers < 1:
        raise UsageError(f"--workers {options.workers}: at least 1 expected")
    if options.images not in IMAGES:
        raise UsageError(f"--images {options.images}: one of {', '.join(IMAGES)} expected")
    if options.side_px is not None and options.side_px < 2:
        raise UsageError(f"--side {options.side_px}: at least 2 px expected")
    given = {name for name, value in _changes(options).items() if value is not None}
    if options.from_strips is not None and (given or options.images != "auto"):
        raise UsageError("--from-strips: strips are taken as they are, without further options")
    if options.from_strips is not None and options.strips is not None:
        raise UsageError("--strips and --from-strips exclude each other")
    output_folder(options.project, options.store, "--store")


def _changes(options: ExportOptions) -> dict[str, Any]:
    """Settings that the user gave, by the names that `ExportSettings` has for them."""
    names = ("side_px", "mode", "normalisation", "dtype", "masks", "missing_locations")
    return {name: getattr(options, name) for name in names if getattr(options, name) is not None}


def _images(project: Project, which: str) -> Project:
    """The project with prepared images, if asked for or if there are some."""
    if which == "original" or (which == "auto" and not (project.root / COMPRESSED).is_dir()):
        return project
    return prepared_project(project)


def _cut(project: Project, folder: Path, options: ExportOptions, console: Console) -> CellStore:
    settings = export_settings(project, **_changes(options))
    which = "prepared" if project.prepared else "original"
    what = "crops" if settings.regions == "cells" else f"squares ({settings.regions} of the field)"
    say(
        console,
        f"{which} images of {count(len(project), 'field')}; {settings.mode} {what} of "
        f"{settings.side_px} px, normalisation {settings.normalisation}, {settings.dtype}, "
        f"masks {settings.masks}",
    )
    remove_temporary(folder)
    with showing("cutting fields", console) as progress:
        return write_store(
            project,
            folder,
            settings,
            workers=options.workers,
            progress=progress,
            remake=True,
            note=lambda text: say(console, f"note: {text}"),
        )


def _summarise(store: CellStore, console: Console) -> None:
    statuses = store.read_index(["status"])["status"].to_numpy()
    counted = np.bincount(statuses, minlength=len(Status))
    kinds = (f"{counted[status]} {status.name.lower()}" for status in Status if counted[status])
    say(
        console,
        f"{count(len(store), 'cell')} ({', '.join(kinds) or 'none'}) of "
        f"{count(len(store.plates), 'plate')}, "
        f"channels {', '.join(store.channels)}; store {store.folder}",
    )
