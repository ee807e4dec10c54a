"""Runs the same work on every plate of a screen, in this process or in several."""

import multiprocessing
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import TypeVar

Result = TypeVar("Result")
Tick = Callable[[], None]
Progress = Callable[[int, int], None]
"""Called with the number of fields that are done, and of all fields."""


def over_plates(
    work: Callable[[str, Tick], Result],
    fields: Mapping[str, int],
    *,
    workers: int = 1,
    progress: Progress | None = None,
) -> dict[str, Result]:
    """Runs `work(plate, tick)` for every plate.

    Args:
      work: Calls `tick` after each field of view. With several workers it runs in other processes
        and has to be picklable: a function of a module, or a `functools.partial` of one.
      fields: Number of fields of every plate, in the order in which plates are begun.
      workers: Processes; 1 stays in this one.
      progress: Called after every field, or after every plate where there are several workers.

    Returns:
      What `work` returned for every plate, in the order of `fields`.

    Raises:
      ValueError: `workers` is below 1.
      Exception: Whatever the first plate to fail raised; plates not yet begun are left out.
    """
    if workers < 1:
        raise ValueError(f"workers is {workers}, at least 1 expected")
    counter = _Counter(sum(fields.values()), progress)
    if workers == 1 or len(fields) < 2:
        return {plate: work(plate, counter.add) for plate in fields}
    context = multiprocessing.get_context("spawn")  # a fork would copy JAX's threads
    results: dict[str, Result] = {}
    with ProcessPoolExecutor(min(workers, len(fields)), mp_context=context) as pool:
        running = {pool.submit(work, plate, _no_tick): plate for plate in fields}
        try:
            for future in as_completed(running):
                plate = running[future]
                results[plate] = future.result()
                counter.add(fields[plate])
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return {plate: results[plate] for plate in fields}


class _Counter:
    def __init__(self, total: int, progress: Progress | None) -> None:
        self._done, self._total, self._progress = 0, total, progress

    def add(self, fields: int = 1) -> None:
        self._done += fields
        if self._progress is not None:
            self._progress(self._done, self._total)


def _no_tick() -> None:
    """The parent counts plates: a message for every field would cost more than it tells."""
