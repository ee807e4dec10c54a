"""Stopping a run from outside without losing it."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from cellml.errors import UserError


class TrainingInterrupted(UserError):
    """A signal stopped the run after a checkpoint was written; calling again goes on from there.

    Attributes:
      step: Steps taken and saved.
      signum: The signal.
      exit_code: 128 + signum, as shells have it.
    """

    def __init__(self, step: int, signum: int) -> None:
        """Makes the message."""
        self.step, self.signum, self.exit_code = step, signum, 128 + signum
        name = signal.Signals(signum).name
        super().__init__(
            f"stopped by {name} at step {step}; checkpoint written, run again to go on"
        )


class StopSignals:
    """Within this context SIGINT and SIGTERM only set `received`; a second one acts as before.

    Outside the main thread Python allows no handlers, and nothing is changed.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        """Nothing is installed before the context is entered."""
        self.received: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            self._previous = {s: signal.signal(s, self._handle) for s in self.SIGNALS}
        return self

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        del frame
        self.received = signum
        self._restore()

    def _restore(self) -> None:
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)
        self._previous = {}

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._restore()
