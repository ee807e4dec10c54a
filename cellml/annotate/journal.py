"""The append-only journal of one image: a JSON line an entry, on disk before anybody is answered.

An entry says what was removed and what was added, as whole objects, so that reading it again needs
no geometry, and undoing it is writing its inverse. Its keys:
  revision: 1 in the first line, then one more in each.
  time: UTC.
  undo_of: Revision that this entry takes back, or null. Taking back an undo is a redo.
  removed, added: Objects as `AnnotatedObject.to_json` gives them; a changed one is in both.
  done: null, or whether the image was done before and after.
  summary: What the image holds after the entry: objects, done, classes with their counts.
"""

import errno
import fcntl
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cellml.errors import UsageError, UserError

LOCK = ".lock"
TAIL_BYTES = 2**16


class Journal:
    """The file of one image; one process writes it at a time, see `FolderLock`."""

    def __init__(self, path: Path, *, writable: bool = True) -> None:
        """Touches nothing yet.

        Args:
          path: A `.jsonl` file, which need not exist.
          writable: Whether a half-written last line may be cut off, and entries be appended.
        """
        self.path = path
        self.writable = writable
        self.notes: list[str] = []
        self._spans: list[tuple[int, int]] = []
        self._size = 0

    def __len__(self) -> int:
        """Number of entries read or written."""
        return len(self._spans)

    def entries(self) -> Iterator[dict[str, Any]]:
        """Reads the file from its beginning, entry by entry.

        Yields:
          Entries with the right keys; objects in them are not checked.

        Raises:
          UserError: A line is broken (names file and line), or the file cannot be read. A last
            line without its end is what a killed process leaves: it is cut off with a note.
        """
        self._spans, self._size = [], 0
        try:
            file = self.path.open("rb")
        except FileNotFoundError:
            return
        except OSError as error:
            raise UserError(f"{self.path}: cannot be read ({error.strerror})") from error
        with file:
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    self._cut(len(line), number)
                    return
                entry = _entry(line, f"{self.path}: line {number}", number)
                self._spans.append((self._size, len(line)))
                self._size += len(line)
                yield entry

    def read(self, revision: int) -> dict[str, Any]:
        """Reads one entry again.

        Args:
          revision: From 1 to the last.

        Returns:
          The entry.

        Raises:
          UserError: The file changed in the meantime.
        """
        start, length = self._spans[revision - 1]
        try:
            with self.path.open("rb") as file:
                file.seek(start)
                line = file.read(length)
        except OSError as error:
            raise UserError(f"{self.path}: cannot be read ({error.strerror})") from error
        return _entry(line, f"{self.path}: line {revision}", revision)

    def changed_elsewhere(self) -> bool:
        """Whether the file has another length than what was read and written here."""
        size = self.path.stat().st_size if self.path.exists() else 0
        return size != self._size

    def append(self, entry: dict[str, Any]) -> None:
        """Writes one entry; when this returns it is on the disk.

        Args:
          entry: All keys but revision and time, which are filled in.

        Raises:
          UserError: The disk is full or cannot be written, or somebody else wrote the file. Then
            the file is as it was.
        """
        time = datetime.now(UTC).isoformat(timespec="milliseconds")
        record = {"revision": len(self) + 1, "time": time, **entry}
        line = json.dumps(record, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        data = line.encode() + b"\n"
        try:
            self._write(data)
        except OSError as error:
            reason = error.strerror or str(error)
            raise UserError(f"{self.path}: cannot be written ({reason}); not saved") from error
        self._spans.append((self._size, len(data)))
        self._size += len(data)

    def _write(self, data: bytes) -> None:
        new = not self.path.exists()
        if new:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            found = os.fstat(handle).st_size
            if found != self._size:
                raise UserError(
                    f"{self.path}: changed by another program ({found} bytes found, {self._size} "
                    "expected); not saved, reload the page"
                )
            try:
                for start in range(0, len(data), 2**24):
                    _write_all(handle, data[start : start + 2**24])
                os.fsync(handle)
            except BaseException:
                os.ftruncate(handle, self._size)
                raise
        finally:
            os.close(handle)
        if new:
            _sync_folder(self.path.parent)

    def _cut(self, length: int, number: int) -> None:
        what = f"{self.path}: line {number} was half-written ({length} bytes, by a killed process)"
        if not self.writable:
            self.notes.append(f"{what} and is ignored")
            return
        try:
            os.truncate(self.path, self._size)
        except OSError as error:
            raise UserError(f"{self.path}: cannot be written ({error.strerror})") from error
        self.notes.append(f"{what} and was cut off")


def last_summary(path: Path) -> dict[str, Any] | None:
    """Reads the summary in the last whole line of a journal, without the rest.

    Args:
      path: The journal, which need not exist.

    Returns:
      `{"objects", "done", "classes"}`, or None where there is none to be found.
    """
    try:
        with path.open("rb") as file:
            end, read = file.seek(0, os.SEEK_END), TAIL_BYTES
            while True:
                start = max(0, end - read)
                file.seek(start)
                lines = file.read(end - start).split(b"\n")[:-1]  # after the last end: a half line
                if len(lines) > 1 or (lines and start == 0):
                    return json.loads(lines[-1])["summary"]
                if start == 0:
                    return None
                read *= 4
    except (OSError, ValueError, KeyError, TypeError):
        return None


class FolderLock:
    """Keeps a second server out of a folder for as long as this one lives."""

    def __init__(self, folder: Path) -> None:
        """Takes the lock.

        Args:
          folder: Is made if needed.

        Raises:
          UsageError: Another process has it.
          OSError: The folder cannot be written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = os.read(self._handle, 20).decode(errors="replace").strip() or "unknown"
            os.close(self._handle)
            raise UsageError(
                f"{folder}: another `cellml annotate` (process {owner}) has it open; close that "
                "one, or give another --out"
            ) from error
        except OSError as error:
            # some network disks have no locks; the journal itself notices a second writer
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP):
                os.close(self._handle)
                raise
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Gives the folder free; the lock file stays, empty."""
        if self._handle >= 0:
            os.ftruncate(self._handle, 0)
            os.close(self._handle)
            self._handle = -1


def _entry(line: bytes, where: str, revision: int) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except ValueError as error:
        raise UserError(f"{where} is damaged (not JSON); restore the file from a copy") from error
    keys = {"revision": int, "removed": list, "added": list}
    for key, kind in keys.items():
        if not isinstance(entry, dict) or not isinstance(entry.get(key), kind):
            raise UserError(f"{where} is damaged (no {key}); restore the file from a copy")
    if entry["revision"] != revision:
        raise UserError(
            f"{where} is damaged (revision {entry['revision']} found, {revision} expected); "
            "restore the file from a copy"
        )
    return entry


def _write_all(handle: int, data: bytes) -> None:
    while data:
        data = data[os.write(handle, data) :]


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
