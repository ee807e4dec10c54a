"""Runs work on chunks of a long list, here or in several processes, results in order."""

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
Progress = Callable[[int, int], None]
"""Called with the number of molecules that are done, and of all."""

CHUNK = 1000


def over_chunks(
    work: Callable[[Sequence[Item]], Result],
    items: Sequence[Item],
    *,
    chunk: int = 0,
    workers: int = 1,
    progress: Progress | None = None,
) -> Iterator[Result]:
    """Yields `work(items[i : i + chunk])` for i = 0, chunk, ...

    Args:
      work: With several workers it runs in other processes and has to be picklable.
      items: All items.
      chunk: Items at a time; 0 for `CHUNK`.
      workers: Processes; 1 stays in this one, and so does a list of one chunk.
      progress: Called after every chunk, and at once with 0.

    Yields:
      The results in order. At most two chunks a worker are under way, so memory is bounded.

    Raises:
      ValueError: `workers` or `chunk` is below 1.
      Exception: Whatever `work` raised; chunks not yet begun are left out.
    """
    chunk = chunk or CHUNK
    if workers < 1 or chunk < 1:
        raise ValueError(f"workers is {workers}, chunk {chunk}: at least 1 expected")
    report = progress or _silent
    chunks = [items[first : first + chunk] for first in range(0, len(items), chunk)]
    report(0, len(items))
    done = 0
    results = (
        map(work, chunks)
        if workers == 1 or len(chunks) < 2
        else _in_processes(work, chunks, min(workers, len(chunks)))
    )
    for piece, result in zip(chunks, results, strict=True):
        done += len(piece)
        report(done, len(items))
        yield result


def _in_processes(
    work: Callable[[Sequence[Item]], Result], chunks: Sequence[Sequence[Item]], workers: int
) -> Iterator[Result]:
    context = multiprocessing.get_context("spawn")  # a fork would copy JAX's threads
    waiting = deque(chunks)
    running: deque[Future[Result]] = deque()
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        try:
            while waiting or running:
                while waiting and len(running) < 2 * workers:
                    running.append(pool.submit(work, waiting.popleft()))
                yield running.popleft().result()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _silent(done: int, total: int) -> None:
    """Nobody wants to know."""
    del done, total
