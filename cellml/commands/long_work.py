"""What commands over many images share: a bar, and an end from outside that loses nothing."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cellml.data.plates import Progress as Report

EXIT_FAILED, EXIT_INTERRUPTED = 1, 130


@contextlib.contextmanager
def showing(what: str, console: Console) -> Iterator[Report]:
    """Shows a bar while the block runs.

    Args:
      what: Stands before the bar.
      console: Where to draw.

    Yields:
      A function to be called with how much is done, and how much there is.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    quiet = {"console": console, "transient": True, "disable": not console.is_terminal}
    with Progress(*columns, TimeRemainingColumn(), **quiet) as progress:
        bar = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(bar, completed=done, total=total)


@contextlib.contextmanager
def terminate_as_interrupt() -> Iterator[None]:
    """Lets SIGTERM, which clusters send, end a run as cleanly as Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def plain_console() -> Console:
    """The terminal of a command: what stands in brackets or between colons is printed as it is."""
    return Console(markup=False, emoji=False)


def say(console: Console, text: str) -> None:
    """Prints a line as it is: no colours for numbers, no markup, no line breaks within words."""
    console.print(text, soft_wrap=True, highlight=False, markup=False, emoji=False)


def count(number: int, word: str) -> str:
    """Returns `1 plate`, `2 plates`."""
    return f"{number} {word}{'' if number == 1 else 's'}"
