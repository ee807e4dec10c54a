"""Host batches made ahead of time in a thread."""

import queue
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")


class Prefetcher(Generic[T]):
    """Runs an iterator in a background thread, at most `depth` items ahead.

    An exception of the iterator is raised where its item would have come. Use it as a context
    manager: leaving it stops the thread and closes the iterator.
    """

    def __init__(self, iterator: Iterator[T], *, depth: int = 2) -> None:
        """Starts the thread.

        Args:
          iterator: Used by the thread alone from now on.
          depth: Bound of the queue, at least 1.
        """
        if depth < 1:
            raise ValueError(f"depth {depth} must be at least 1")
        self._iterator = iterator
        self._queue: queue.Queue[tuple[str, object]] = queue.Queue(maxsize=depth)
        self._stop = threading.Event()
        self._ended = False
        self._thread = threading.Thread(target=self._work, name="prefetch", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        try:
            for item in self._iterator:
                if not self._put(("item", item)):
                    break
            else:
                self._put(("end", None))
        except BaseException as error:  # Whatever it is, the consumer has to see it.
            self._put(("error", error))
        finally:
            close = getattr(self._iterator, "close", None)
            if close is not None:
                close()

    def _put(self, entry: tuple[str, object]) -> bool:
        # With a timeout, because a consumer that left would block this thread for ever.
        while not self._stop.is_set():
            try:
                self._queue.put(entry, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if self._ended:
            raise StopIteration
        kind, value = self._queue.get()
        if kind == "item":
            return value  # type: ignore[return-value]
        self._ended = True
        if kind == "error":
            assert isinstance(value, BaseException)
            raise value
        raise StopIteration

    def close(self) -> None:
        """Stops the thread and waits for it."""
        self._stop.set()
        self._thread.join(timeout=10.0)

    def __enter__(self) -> "Prefetcher[T]":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
