"""`cellml profile prepare`: illumination correction and compression of a project's images."""

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from cellml.commands.long_work import EXIT_INTERRUPTED, count, say, showing, terminate_as_interrupt
from cellml.data.painting_project import COMPRESSED, INTENSITIES, open_project
from cellml.data.prepare import prepare
from cellml.data.writers import remove_temporary
from cellml.errors import UsageError


@dataclass(frozen=True)
class PrepareOptions:
    """What the user asked for; see `cellml profile prepare --help`."""

    project: Path
    workers: int = 1
    config: str | None = None


def run(options: PrepareOptions, console: Console) -> int:
    """Prepares all images of a project; goes on where an interrupted run stopped.

    Args:
      options: See `PrepareOptions`.
      console: Where progress and the summary go.

    Returns:
      Exit code: 0, or 130 if interrupted.

    Raises:
      UserError: An image is missing or damaged, or the configuration is wrong.
      UsageError: `workers` is below 1.
    """
    if options.workers < 1:
        raise UsageError(f"--workers {options.workers}: at least 1 expected")
    project = open_project(options.project, config=options.config)
    for folder in (COMPRESSED, INTENSITIES):
        remove_temporary(project.root / folder)
    try:
        with terminate_as_interrupt(), showing("preparing fields (twice)", console) as progress:
            prepared = prepare(project, workers=options.workers, progress=progress)
    except KeyboardInterrupt:
        say(console, "Interrupted: nothing is half-written. Run the same command to go on.")
        return EXIT_INTERRUPTED
    if not prepared.prepared:
        say(console, "note: prepare.compression.implement is false; images stay as they are")
        return 0
    images = count(len(prepared) * len(prepared.channels), "image")
    plates = count(len(prepared.plates), "plate")
    say(console, f"{images} of {plates} in {project.root / COMPRESSED}")
    return 0
