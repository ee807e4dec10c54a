"""What a server holds about one folder: images, their documents, classes, and what is next."""

import json
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cellml.annotate.classes import (
    DEFAULT_CLASS,
    extend_classes,
    parse_classes,
    read_classes,
    write_classes,
)
from cellml.annotate.document import Document
from cellml.annotate.images import ImageFolder
from cellml.annotate.import_records import plural
from cellml.annotate.journal import FolderLock, Journal, last_summary
from cellml.data.writers import remove_temporary, write_json
from cellml.errors import UsageError, UserError

DOCUMENTS_KEPT = 32
JOURNALS, UNCERTAINTY = "journals", "uncertainty.json"


class ReadOnlyError(UserError):
    """Nothing can be saved; reading works."""


@dataclass
class _Slot:
    """A document that may be in use."""

    document: Document | None = None
    users: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class Workspace:
    """One folder of images and the folder of its annotations.

    Attributes:
      images: The list.
      out: Folder of the annotations.
      writable: Whether `out` can be written.
      classes: In the order of the page.
      uncertainty: Of images by name, where it was computed.
    """

    def __init__(self, images: ImageFolder, out: Path, *, class_names: Sequence[str] = ()) -> None:
        """Takes the lock on `out` and reads what is there.

        Args:
          images: The list.
          out: Is made if needed; if it cannot be written, everything is read only.
          class_names: Are added to those of `classes.json`.

        Raises:
          UsageError: Another server has `out` open, or a file is in its place.
          UserError: A damaged file in `out`.
        """
        self.images, self.out = images, out
        self.why_read_only = ""
        self._lock = threading.RLock()
        self._slots: OrderedDict[int, _Slot] = OrderedDict()
        self._summaries: dict[int, tuple[tuple[int, int], dict[str, Any]]] = {}
        self._folder_lock = self._take_lock()
        self.writable = self._folder_lock is not None
        try:
            known = read_classes(out)
            asked = class_names or (() if known else (DEFAULT_CLASS,))
            self.classes = extend_classes(known, asked)
            self.uncertainty = _read_uncertainty(out)
            if self.writable:
                remove_temporary(out)
                if self.classes != known:
                    write_classes(out, self.classes)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Gives the folder free. Everything is on the disk already."""
        if self._folder_lock is not None:
            self._folder_lock.release()

    def require_writable(self) -> None:
        """Raises ReadOnlyError where nothing can be saved."""
        if not self.writable:
            raise ReadOnlyError(f"nothing can be saved: {self.why_read_only}")

    def journal_path(self, index: int) -> Path:
        """Where the journal of an image is, or will be."""
        return self.out / JOURNALS / f"{self.images.entries[index].name}.jsonl"

    @contextmanager
    def document(self, index: int) -> Iterator[Document]:
        """Lends the document of an image; one at a time exists of each.

        Args:
          index: Of the image.

        Yields:
          The document, in step with its journal.

        Raises:
          UserError: The image or the journal cannot be read.
        """
        size = self.images.open(index).size
        with self._lock:
            slot = self._slots.setdefault(index, _Slot())
            self._slots.move_to_end(index)
            slot.users += 1
        try:
            with slot.lock:
                if slot.document is None or (slot.users == 1 and slot.document.is_stale()):
                    journal = Journal(self.journal_path(index), writable=self.writable)
                    slot.document = Document(journal, size)
                document = slot.document
            yield document
        finally:
            with self._lock:
                slot.users -= 1
                unused = [number for number, slot in self._slots.items() if not slot.users]
                for number in unused[: max(0, len(self._slots) - DOCUMENTS_KEPT)]:
                    del self._slots[number]

    def summary(self, index: int) -> dict[str, Any]:
        """What the journal of an image comes to, without its image.

        Args:
          index: Of the image.

        Returns:
          `{"objects", "done", "classes"}`.

        Raises:
          UserError: The journal is damaged.
        """
        path = self.journal_path(index)
        try:
            stat = path.stat()
        except OSError:
            return {"objects": 0, "done": False, "classes": {}}
        key = (stat.st_size, stat.st_mtime_ns)
        known = self._summaries.get(index)
        if known is None or known[0] != key:
            found = last_summary(path)
            if found is None:
                found = Document(Journal(path, writable=False), (1, 1)).summary()
            known = self._summaries[index] = (key, found)
        return known[1]

    def image_rows(self) -> list[dict[str, Any]]:
        """The list of images as the page reads it."""
        rows = []
        for index, entry in enumerate(self.images.entries):
            found, error = {"objects": 0, "done": False}, entry.error
            try:
                found = self.summary(index)
            except UserError as damaged:
                error = error or str(damaged)
            rows.append(
                {
                    "index": index,
                    "name": entry.name,
                    "n_objects": found["objects"],
                    "done": found["done"],
                    "uncertainty": self.uncertainty.get(entry.name),
                    "error": error,
                }
            )
        return rows

    def set_classes(self, record: Any) -> None:
        """Replaces the classes. If one place of the list has another name, its objects follow.

        Args:
          record: JSON, see `cellml.annotate.classes.parse_classes`.

        Raises:
          UserError: They are not right, or a class that objects have is missing.
        """
        self.require_writable()
        with self._lock:
            classes = parse_classes(record)
            renamed = _renamed([item.name for item in self.classes], [c.name for c in classes])
            names = {item.name for item in classes}
            for index, counts in self._used_classes().items():
                image = self.images.entries[index].name
                for name in counts.keys() - names - {renamed and renamed[0]}:
                    raise UserError(
                        f"class {name!r} has {plural(counts[name], 'object')} in {image}: "
                        "give them another class before you remove it"
                    )
            if renamed:
                self.add_classes([renamed[1]])  # both are there until all objects have followed
                for index, counts in self._used_classes().items():
                    if renamed[0] in counts:
                        self._rename_class(index, *renamed)
            write_classes(self.out, classes)
            self.classes = classes

    def add_classes(self, names: Iterable[str]) -> None:
        """Adds classes that objects have and that are not in the list yet."""
        with self._lock:
            classes = extend_classes(self.classes, names)
            if len(classes) != len(self.classes):
                write_classes(self.out, classes)
                self.classes = classes

    def set_uncertainty(self, index: int, value: float) -> None:
        """Keeps how unsure the model is about an image."""
        with self._lock:
            self.uncertainty[self.images.entries[index].name] = value
            write_json(self.out / UNCERTAINTY, self.uncertainty)

    def next_index(self, after: int) -> int | None:
        """Chooses the image to annotate next.

        Args:
          after: The image at hand.

        Returns:
          Of the other images that are not done and can be read the most uncertain one; the next by
          order where none was ranked; None if none is left.
        """
        rows = self.image_rows()
        left = [
            row for row in rows if row["index"] != after and not row["done"] and not row["error"]
        ]
        ranked = [row for row in left if row["uncertainty"] is not None]
        if ranked:
            return max(ranked, key=lambda row: (row["uncertainty"], -row["index"]))["index"]
        behind = [row["index"] for row in left if row["index"] > after]
        return next(iter(behind + [row["index"] for row in left]), None)

    def _used_classes(self) -> dict[int, dict[str, int]]:
        """Number of objects by class of every image that has any."""
        used = {}
        for index in range(len(self.images.entries)):
            with suppress(UserError):  # a damaged journal is told in the list
                used[index] = self.summary(index)["classes"]
        return {index: counts for index, counts in used.items() if counts}

    def _rename_class(self, index: int, old: str, new: str) -> None:
        slot = self._slots.setdefault(index, _Slot())
        with slot.lock:
            document = slot.document
            if document is None:  # the image need not be opened for this
                document = Document(Journal(self.journal_path(index)), (1, 1))
            document.rename_class(old, new)

    def _take_lock(self) -> FolderLock | None:
        if self.out.exists() and not self.out.is_dir():
            raise UsageError(f"{self.out}: a file is in the way, --out needs a folder")
        try:
            return FolderLock(self.out)
        except OSError as error:
            self.why_read_only = f"{self.out} cannot be written ({error.strerror or error})"
            return None


def _read_uncertainty(out: Path) -> dict[str, float]:
    path = out / UNCERTAINTY
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return {str(name): float(value) for name, value in record.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); mend or remove it") from error


def _renamed(before: Sequence[str], after: Sequence[str]) -> tuple[str, str] | None:
    """The old and the new name if one class was renamed and nothing else happened to the names."""
    if len(before) != len(after):
        return None
    differing = [pair for pair in zip(before, after, strict=True) if pair[0] != pair[1]]
    if len(differing) != 1 or differing[0][0] in after or differing[0][1] in before:
        return None
    return differing[0]
