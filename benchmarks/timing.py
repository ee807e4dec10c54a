"""Interleaved timing of two implementations, each in a process of its own.

Two libraries in one process share an allocator and fight over cores with their thread pools, and a
machine that gets slower halfway would favour whoever ran first. So each side lives in a process of
its own and the parent runs them in turn, A B A B; the ratio of the medians is what counts.

A side is a picklable callable (a class, say) that imports its library, builds its inputs and
returns an object; the parent then calls that object's methods by name:

    with Worker(Ours, case) as ours, Worker(Peer, case) as peer:
        results = interleave({"cellml": ours, "torch": peer}, "step", repeats=7)
    print(ratio(results, "cellml", "torch"))

Only the standard library is imported here, so that a side may set environment variables first.
"""

import datetime
import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from importlib import metadata
from types import TracebackType
from typing import Any, NamedTuple, Self


class Timing(NamedTuple):
    """Repeated measurements of one side, in seconds.

    Attributes:
      wall_s: Elapsed time of each repeat.
      cpu_s: Time of all threads of the side's process during each repeat. It includes threads
        that spin while they wait, and does not include what others do on the machine.
    """

    wall_s: list[float]
    cpu_s: list[float]

    @property
    def wall_ms(self) -> float:
        """Median elapsed time in milliseconds."""
        return 1e3 * statistics.median(self.wall_s)

    @property
    def best_ms(self) -> float:
        """Shortest elapsed time in milliseconds: the least disturbed repeat."""
        return 1e3 * min(self.wall_s)

    @property
    def cpu_ms(self) -> float:
        """Median processor time in milliseconds."""
        return 1e3 * statistics.median(self.cpu_s)


class Worker:
    """An object that lives in a process of its own.

    Attributes:
      name: For error messages.
    """

    def __init__(self, factory: Callable[..., Any], *args: Any) -> None:
        """Starts the process and builds the object there.

        Args:
          factory: Importable at module level; called in the new process.
          *args: Picklable arguments of the factory.
        Raises:
          RuntimeError: The factory failed; the traceback is printed by the process.
        """
        self.name = getattr(factory, "__name__", repr(factory))
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, factory, args), daemon=True)
        self._process.start()
        theirs.close()
        self._receive()

    def call(self, method: str, *args: Any) -> Any:
        """Calls a method of the object over there; arguments and result are pickled."""
        return self._ask("call", method, args)

    def time(self, method: str) -> tuple[float, float]:
        """Calls a method without arguments; returns its elapsed and processor time in seconds."""
        return self._ask("time", method, ())

    def close(self) -> None:
        """Ends the process."""
        if self._process.is_alive():
            self._pipe.send(None)
            self._process.join(timeout=10)
        if self._process.is_alive():
            self._process.terminate()

    def _ask(self, *message: Any) -> Any:
        self._pipe.send(message)
        return self._receive()

    def _receive(self) -> Any:
        try:
            failed, value = self._pipe.recv()
        except EOFError as error:
            raise RuntimeError(f"the process of {self.name} died") from error
        if failed:
            raise RuntimeError(f"{self.name} failed: {value}")
        return value

    def __enter__(self) -> Self:
        """Nothing more to do: the process runs already."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Ends the process."""
        self.close()


def _serve(pipe: Any, factory: Callable[..., Any], args: tuple[Any, ...]) -> None:
    """The loop of a worker's process: one message in, one answer out."""
    import traceback

    target: Any = None
    request: Any = ("build", "", ())
    while request is not None:
        kind, method, arguments = request
        try:
            if kind == "build":
                target = factory(*args)
                value: Any = None
            elif kind == "time":
                cpu, wall = time.process_time(), time.perf_counter()
                getattr(target, method)()
                value = time.perf_counter() - wall, time.process_time() - cpu
            else:
                value = getattr(target, method)(*arguments)
            answer = (False, value)
        except Exception as error:  # the parent decides what to do about it
            traceback.print_exc()
            answer = (True, f"{type(error).__name__}: {error}")
        pipe.send(answer)
        request = pipe.recv()


def interleave(
    workers: Mapping[str, Worker],
    method: str,
    *,
    repeats: int,
    warmup: int = 1,
    pause_s: float = 0.02,
) -> dict[str, Timing]:
    """Times a method of every worker in turn.

    Args:
      workers: The sides by name.
      method: Method without arguments which returns when its result is there.
      repeats: Measurements of each side.
      warmup: Calls of each side before that, which compile and fill caches.
      pause_s: Rest before each measurement: OpenMP's threads spin for some milliseconds after
        their last work and would disturb the next side.
    Returns:
      One Timing a side.
    """
    for worker in workers.values():
        for _ in range(warmup):
            worker.time(method)
    results = {name: Timing([], []) for name in workers}
    for _ in range(repeats):
        for name, worker in workers.items():
            time.sleep(pause_s)
            wall, cpu = worker.time(method)
            results[name].wall_s.append(wall)
            results[name].cpu_s.append(cpu)
    return results


def ratio(results: Mapping[str, Timing], ours: str, peer: str) -> float:
    """Peer's median elapsed time divided by ours: above 1, ours is faster."""
    return results[peer].wall_ms / results[ours].wall_ms


def paired_ratio(results: Mapping[str, Timing], ours: str, peer: str) -> float:
    """Median over the repeats of peer's time by ours of the same repeat.

    On a machine that others use this is steadier than `ratio`, since the two halves of a pair
    were measured one right after the other.
    """
    pairs = zip(results[peer].wall_s, results[ours].wall_s, strict=True)
    return statistics.median(theirs / own for theirs, own in pairs)


def describe_machine(*packages: str) -> str:
    """One line with date, processor, cores, load average and package versions.

    Args:
      *packages: Distributions whose versions are named.
    """
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in packages)
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    return (
        f"{now}; {processor()}, {os.cpu_count()} cores; load average "
        f"{os.getloadavg()[0]:.1f}; Python {platform.python_version()}, {versions}"
    )


def processor() -> str:
    """Name of the processor; the architecture where the system does not tell."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.machine()


def markdown_row(*cells: object) -> str:
    """A row of a markdown table; floats get three significant digits."""
    texts = [f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in cells]
    return "| " + " | ".join(texts) + " |"
