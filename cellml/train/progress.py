"""What a person sees of a run: a bar on a terminal, plain lines elsewhere."""

import io
import sys
import time
from collections.abc import Mapping
from typing import IO, Any, cast


class Progress:
    """Shows step, metrics, examples per second and the time left.

    On a terminal it is a bar by rich; in a log file it is one line per record, at most one every
    `line_interval_s` seconds.
    """

    def __init__(
        self,
        total: int,
        *,
        start: int = 0,
        title: str = "train",
        enabled: bool = True,
        stream: io.TextIOBase | None = None,
        line_interval_s: float = 10.0,
    ) -> None:
        """Prepares the display; nothing is shown before the first update.

        Args:
          total: Number of steps of the whole run.
          start: Steps already taken before.
          title: Shown in front.
          enabled: False shows warnings only.
          stream: Standard error by default.
          line_interval_s: Least time between two plain lines.
        """
        self._total, self._start, self._title = total, start, title
        self._stream = cast("io.TextIOBase", sys.stderr) if stream is None else stream
        self._interval_s = line_interval_s
        self._enabled = enabled
        self._began_s = self._now()
        self._paused_s = 0.0
        self._last_line_s = -float("inf")
        self._text, self._examples = "", 0
        self._bar, self._task = self._make_bar() if enabled and self._stream.isatty() else (None, 0)

    def _make_bar(self) -> tuple[Any, Any]:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.progress import Progress as Bar

        bar = Bar(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]}"),
            TextColumn("{task.fields[text]}"),
            console=Console(file=cast("IO[str]", self._stream)),
            refresh_per_second=4,
        )
        task = bar.add_task(
            self._title, total=self._total, completed=self._start, speed="compiling", text=""
        )
        bar.start()
        return bar, task

    def advance(self, step: int, examples: int) -> None:
        """Says that a step is done.

        Args:
          step: Steps taken so far.
          examples: Examples of this step.
        """
        if step == self._start + 1:
            # The first step is compilation; counted in, it would spoil the estimate for long.
            self._began_s, self._paused_s = self._now(), 0.0
            return
        self._examples += examples
        if self._bar is not None:
            self._bar.update(self._task, completed=step, speed=self._speed(step), text=self._text)

    def record(self, step: int, group: str, values: Mapping[str, float]) -> None:
        """Shows metrics: beside the bar, or as a line."""
        if not self._enabled:
            return
        shown = {k: v for k, v in values.items() if k not in ("finite", "examples_per_s")}
        text = "  ".join(f"{name} {value:.4g}" for name, value in shown.items())
        if self._bar is not None:
            if group == "train":
                self._text = text
            else:
                self._bar.console.print(f"step {step}  {group}: {text}", highlight=False)
            return
        now = self._now()
        last = step >= self._total
        if group == "train" and now - self._last_line_s < self._interval_s and not last:
            return
        if group == "train":
            self._last_line_s = now
        self._print(f"{self._title} {step}/{self._total}  {self._speed(step)}  {group}: {text}")

    def message(self, text: str) -> None:
        """Shows a line, above the bar if there is one."""
        if self._bar is not None:
            self._bar.console.print(text, highlight=False, markup=False)
        else:
            self._print(text)

    def pause(self, seconds: float) -> None:
        """Leaves time spent on evaluation or saving out of the speed."""
        self._paused_s += seconds

    def examples_per_s(self) -> float:
        """Training throughput since the first step, without evaluation and saving."""
        elapsed_s = self._now() - self._began_s - self._paused_s
        return self._examples / elapsed_s if elapsed_s > 0 else 0.0

    def close(self) -> None:
        """Ends the display."""
        if self._bar is not None:
            self._bar.stop()

    def _speed(self, step: int) -> str:
        done = step - self._start - 1
        if done <= 0:
            return "compiling"
        elapsed_s = self._now() - self._began_s
        left_s = elapsed_s / done * (self._total - step)
        return f"{self.examples_per_s():.1f} examples/s, {format_time(left_s)} left"

    def _print(self, text: str) -> None:
        print(text, file=self._stream, flush=True)

    @staticmethod
    def _now() -> float:
        return time.perf_counter()


def format_time(seconds: float) -> str:
    """Writes a duration as h:mm:ss or m:ss."""
    total = max(0, round(seconds))
    hours, rest = divmod(total, 3600)
    minutes, secs = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{secs:02d}" if hours else f"{minutes}:{secs:02d}"
