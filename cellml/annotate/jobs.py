"""Long work in the background: a thread a job, with progress, and cancelled between two steps."""

import itertools
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from cellml.errors import UserError

KEPT = 50
"""Finished jobs that stay in the list."""


class Cancelled(Exception):
    """The user cancelled the job."""


@dataclass
class Job:
    """One piece of work.

    Attributes:
      id: Above 0.
      kind: propose, train or rank.
      state: running, done, failed or cancelled.
      share: Done so far, within [0, 1].
      message: For the user.
    """

    id: int
    kind: str
    state: str = "running"
    share: float = 0.0
    message: str = "starting"
    _cancel: threading.Event = field(default_factory=threading.Event)

    def progress(self, share: float, message: str = "") -> None:
        """Tells how far the work is.

        Args:
          share: Within [0, 1].
          message: Replaces the last one, if not empty.

        Raises:
          Cancelled: The user cancelled; let it pass through.
        """
        self.share = min(max(float(share), 0.0), 1.0)
        self.message = message or self.message
        if self._cancel.is_set():
            raise Cancelled

    def part(self, start: float, end: float, prefix: str = "") -> Callable[..., None]:
        """Gives a progress function for a part of the work.

        Args:
          start: Share done when the part begins.
          end: Share done when it ends.
          prefix: Stands before its messages.

        Returns:
          To be called with the share of the part, and a message.
        """

        def report(share: float, message: str = "") -> None:
            text = f"{prefix}{message}" if message else prefix.rstrip(": ")
            self.progress(start + (end - start) * float(share), text)

        return report

    @property
    def cancelled(self) -> bool:
        """Whether somebody asked for the end."""
        return self._cancel.is_set()

    def cancel(self) -> None:
        """Asks for the end; the work stops at its next step."""
        if self.state == "running":
            self.message = "cancelling"
            self._cancel.set()

    def to_json(self) -> dict[str, Any]:
        """What the page reads."""
        return {
            "id": self.id,
            "kind": self.kind,
            "state": self.state,
            "progress": round(self.share, 4),
            "message": self.message,
        }


class Jobs:
    """All jobs of a server."""

    def __init__(self) -> None:
        self._jobs: dict[int, Job] = {}
        self._threads: dict[int, threading.Thread] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def start(self, kind: str, work: Callable[[Job], str], *, alone: bool = True) -> Job:
        """Starts work in a thread of its own.

        Args:
          kind: See `Job`.
          work: Gets the job, to report progress; returns the last message.
          alone: Whether there may be one running job of a kind only.

        Returns:
          The job.

        Raises:
          UserError: There is one already.
        """
        with self._lock:
            running = [j for j in self._jobs.values() if j.kind == kind and j.state == "running"]
            if alone and running:
                raise UserError(f"a job of this kind ({kind}) is running; wait, or cancel it")
            job = Job(next(self._numbers), kind)
            self._jobs[job.id] = job
            thread = threading.Thread(target=_run, args=(job, work), daemon=True)
            self._threads[job.id] = thread
            for old in list(self._jobs)[:-KEPT]:
                if self._jobs[old].state != "running":
                    del self._jobs[old], self._threads[old]
        thread.start()
        return job

    def get(self, number: int) -> Job:
        """Returns a job; KeyError if there is none."""
        return self._jobs[number]

    def list(self) -> list[Job]:
        """All jobs, the oldest first."""
        with self._lock:
            return list(self._jobs.values())

    def wait(self, number: int, timeout_s: float | None = None) -> None:
        """Waits until a job has ended."""
        self._threads[number].join(timeout_s)

    def close(self, timeout_s: float = 5.0) -> None:
        """Cancels everything and waits a little."""
        for job in self.list():
            job.cancel()
        for thread in list(self._threads.values()):
            thread.join(timeout_s)


def _run(job: Job, work: Callable[[Job], str]) -> None:
    try:
        job.message, state = work(job), "done"
        job.share = 1.0
    except Cancelled:
        state = "cancelled"
    except UserError as error:
        job.message, state = str(error), "failed"
    except Exception as error:
        logging.getLogger(__name__).exception("job %s (%s) failed", job.id, job.kind)
        job.message, state = f"failed: {error or type(error).__name__}", "failed"
    if state != "done" and job.cancelled:  # whatever it was that ended the work
        job.message, state = "cancelled", "cancelled"
    job.state = state
