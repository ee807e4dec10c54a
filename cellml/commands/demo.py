"""`cellml demo`, `python -m cellml.commands.demo` and `make demo`: the tour in one page.

Nothing heavy is imported before `cellml.platform.configure` was called.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from cellml import platform
from cellml.errors import UsageError, UserError

DEFAULT_OUT = Path("runs/demo")
DEFAULT_MODEL = "nuclei"


def run(
    out: str | Path = DEFAULT_OUT,
    *,
    model: str | Path = DEFAULT_MODEL,
    size: str = "full",
    say: Callable[[str], None] | None = None,
) -> int:
    """Segments, scores, studies TTA, trains a little, and writes `report.html`.

    Args:
      out: Folder for everything that is written. What an unfinished run left is used again.
      model: Name of a shipped model, or path of a segmenter's weights.
      size: "full", or "smoke" for seconds instead of minutes.
      say: Prints a line of progress; standard output by default.
    Returns:
      Exit code 0.
    Raises:
      UsageError: Unknown size or model, or `out` is a file.
    """
    # Slow to import: --help and a wrong option answer at once.
    from cellml.demo.chapters import write_tour
    from cellml.demo.settings import SIZES
    from cellml.tasks.semantic import load_segmenter

    out = Path(out)
    if size not in SIZES:
        raise UsageError(f"size must be one of {', '.join(SIZES)}, found {size!r}")
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out}: expected a folder to write to, found a file")
    try:
        load_segmenter(model)
    except (ValueError, OSError) as error:
        raise UsageError(str(error)) from error
    say = say or _timed_lines()
    report = write_tour(out, model=model, size=SIZES[size], say=say)
    say(f"the report is in {report.resolve()}")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses and calls `run`.

    Args:
      arguments: Those of the process by default.
    Returns:
      Exit code: 0, or that of the user's error.
    """
    parser = argparse.ArgumentParser(
        prog="cellml demo", description="A tour of cellml in one page."
    )
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help="folder to write to")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="shipped model, or weights file")
    parser.add_argument("--size", default="full", help="full, or smoke for a test of seconds")
    given = parser.parse_args(arguments)
    platform.configure()
    try:
        return run(given.out, model=given.model, size=given.size)
    except UserError as error:
        print(f"cellml demo: {error}", file=sys.stderr)
        return error.exit_code


def _timed_lines() -> Callable[[str], None]:
    start_s = time.perf_counter()

    def say(text: str) -> None:
        print(f"[{time.perf_counter() - start_s:5.0f} s] {text}", flush=True)

    return say


if __name__ == "__main__":
    sys.exit(main())
