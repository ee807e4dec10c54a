"""The objects of one image: read from the journal, changed by operations, undone and redone."""

import gc
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from cellml.annotate import operations
from cellml.annotate.classes import check_name
from cellml.annotate.journal import Journal
from cellml.annotate.objects import AnnotatedObject
from cellml.errors import UserError


class Conflict(UserError):
    """Somebody else changed the image since the page read it; `revision` is the one there now."""

    def __init__(self, revision: int) -> None:
        super().__init__(
            "this image was changed in another tab or by a finished job; its newest state is "
            "loaded, please repeat the last step"
        )
        self.revision = revision


@dataclass(frozen=True)
class Change:
    """What one step did.

    Attributes:
      revision: After it.
      removed: Ids of objects that are gone.
      objects: New or changed ones.
    """

    revision: int
    removed: list[int]
    objects: list[AnnotatedObject]


class Document:
    """The state of one image. Take `lock` around reads that belong together.

    Attributes:
      objects: By id, in no particular order.
      revision: Number of entries in the journal.
      done: Whether somebody said so.
      notes: What reading the journal met.
      lock: Held by every change.
    """

    def __init__(self, journal: Journal, size: tuple[int, int]) -> None:
        """Reads the journal.

        Args:
          journal: Not read yet.
          size: Height and width of the image.

        Raises:
          UserError: The journal is damaged.
        """
        self.lock = threading.RLock()
        self.size = size
        self.done = False
        self._journal = journal
        self._next_id = 1
        self._undo: list[int] = []  # revisions that undo takes back, the next one last
        self._redo: list[int] = []  # revisions of undos that redo takes back
        with _without_collector():
            self.objects = self._replay()
        self.notes = tuple(journal.notes)

    @property
    def revision(self) -> int:
        """Number of entries in the journal."""
        return len(self._journal)

    @property
    def can_undo(self) -> bool:
        """Whether a step is left to take back."""
        return bool(self._undo)

    @property
    def can_redo(self) -> bool:
        """Whether a step that was taken back can be repeated."""
        return bool(self._redo)

    def is_stale(self) -> bool:
        """Whether somebody else wrote the journal, so that it must be read again."""
        return self._journal.changed_elsewhere()

    def sorted_objects(self) -> list[AnnotatedObject]:
        """All objects by id."""
        return [self.objects[number] for number in sorted(self.objects)]

    def summary(self) -> dict[str, Any]:
        """What the folder's list shows: number of objects, done, number by class."""
        classes = Counter(item.class_name for item in self.objects.values())
        return {"objects": len(self.objects), "done": self.done, "classes": dict(classes)}

    def apply(self, requested: Sequence[Any], base_revision: int) -> Change:
        """Carries out operations as one step, all or none.

        Args:
          requested: Operations as the page sends them, see `cellml.annotate.operations`.
          base_revision: What the page believes to be the newest revision.

        Returns:
          What changed; nothing, and no new revision, where they have no effect.

        Raises:
          Conflict: It is not.
          UserError: An operation cannot be done, or the journal not be written.
        """
        with self.lock:
            self._check(base_revision)
            draft = operations.Draft(dict(self.objects), self._next_id, self.size, self.done)
            for operation in requested:
                operations.apply(draft, operation)
            return self._commit(draft)

    def add(self, items: Iterable[AnnotatedObject]) -> tuple[Change, int]:
        """Adds objects from a file or a model as one step, whatever the revision.

        Args:
          items: Their ids are replaced by new ones.

        Returns:
          What changed, and how many were left out as they lie outside the image.

        Raises:
          UserError: The journal cannot be written.
        """
        left_out = 0
        with self.lock:
            draft = operations.Draft(dict(self.objects), self._next_id, self.size, self.done)
            for item in items:
                try:
                    draft.put(replace(item, id=draft.next_id))
                except UserError:
                    left_out += 1
            return self._commit(draft), left_out

    def rename_class(self, old: str, new: str) -> Change:
        """Gives all objects of a class another one, as one step, whatever the revision.

        Args:
          old: Name of the class.
          new: Its new name, which no object has.

        Returns:
          What changed.

        Raises:
          UserError: The journal cannot be written.
        """
        with self.lock:
            draft = operations.Draft(dict(self.objects), self._next_id, self.size, self.done)
            for item in self.objects.values():
                if item.class_name == old:
                    draft.objects[item.id] = replace(item, class_name=new)
            return self._commit(draft)

    def undo(self, base_revision: int) -> Change:
        """Takes back the last step; argument, result and errors as for `apply`."""
        with self.lock:
            self._check(base_revision)
            if not self._undo:
                raise UserError("there is nothing to undo")
            return self._invert(self._undo[-1])

    def redo(self, base_revision: int) -> Change:
        """Repeats the last step that was undone; argument, result and errors as for `apply`."""
        with self.lock:
            self._check(base_revision)
            if not self._redo:
                raise UserError("there is nothing to redo")
            return self._invert(self._redo[-1])

    def _check(self, base_revision: int) -> None:
        if base_revision != self.revision:
            raise Conflict(self.revision)

    def _commit(self, draft: operations.Draft) -> Change:
        before, after = self.objects, draft.objects
        removed = [item for number, item in before.items() if after.get(number) is not item]
        added = [item for number, item in after.items() if before.get(number) is not item]
        same = {item.id for item in removed if after.get(item.id) == item}
        removed = [item for item in removed if item.id not in same]
        added = [item for item in added if item.id not in same]
        done = [self.done, draft.done] if self.done != draft.done else None
        if not removed and not added and done is None:
            return Change(self.revision, [], [])
        for name in {item.class_name for item in added}:  # before anything is written
            check_name(name)
        return self._write(None, removed, added, done)

    def _invert(self, revision: int) -> Change:
        entry = self._journal.read(revision)
        added = [AnnotatedObject.from_json(record) for record in entry["removed"]]
        removed = [AnnotatedObject.from_json(record) for record in entry["added"]]
        done = entry.get("done")
        return self._write(revision, removed, added, done and done[::-1])

    def _write(
        self,
        undo_of: int | None,
        removed: list[AnnotatedObject],
        added: list[AnnotatedObject],
        done: list[bool] | None,
    ) -> Change:
        objects, was_done = self.objects, self.done
        changed = dict(objects)
        for item in removed:
            del changed[item.id]
        changed |= {item.id: item for item in added}
        self.objects = changed
        self.done = done[1] if done else was_done
        try:
            self._journal.append(
                {
                    "undo_of": undo_of,
                    "removed": [item.to_json() for item in removed],
                    "added": [item.to_json() for item in added],
                    "done": done,
                    "summary": self.summary(),
                }
            )
        except BaseException:
            self.objects, self.done = objects, was_done
            raise
        self._next_id = max([self._next_id, *(item.id + 1 for item in added)])
        self._move(undo_of, self.revision)
        gone = [item.id for item in removed if item.id not in changed]
        return Change(self.revision, gone, added)

    def _move(self, undo_of: int | None, revision: int) -> None:
        """Keeps the two stacks: an undo moves a step to redo, a redo moves it back."""
        if undo_of is None:
            self._undo.append(revision)
            self._redo.clear()
        elif self._undo and self._undo[-1] == undo_of:
            self._undo.pop()
            self._redo.append(revision)
        elif self._redo and self._redo[-1] == undo_of:
            self._redo.pop()
            self._undo.append(revision)
        else:
            raise UserError(f"revision {undo_of} cannot be taken back there")

    def _replay(self) -> dict[int, AnnotatedObject]:
        records: dict[int, Any] = {}  # only what is left in the end is worth checking
        for revision, entry in enumerate(self._journal.entries(), start=1):
            try:
                for record in entry["removed"]:
                    del records[record["id"]]
                for record in entry["added"]:
                    records[record["id"]] = record
                    self._next_id = max(self._next_id, record["id"] + 1)
                if entry.get("done") is not None:
                    self.done = bool(entry["done"][1])
                self._move(entry.get("undo_of"), revision)
            except (KeyError, TypeError, IndexError, UserError) as error:
                reason = error if isinstance(error, UserError) else f"object {error}"
                raise UserError(
                    f"{self._journal.path}: line {revision} does not follow from those before it "
                    f"({reason}); restore the file from a copy"
                ) from error
        try:
            return {number: AnnotatedObject.from_json(r) for number, r in records.items()}
        except UserError as error:
            raise UserError(f"{self._journal.path}: {error}") from error


@contextmanager
def _without_collector() -> Iterator[None]:
    """Makes reading a long journal twice as fast: it makes millions of lists and no cycles."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
