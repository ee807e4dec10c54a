"""What the server answers: one function a route, without a word about HTTP.

Routes and their fields are listed in docs/annotate.md. The functions run in threads; a document's
own lock keeps its changes in order.
"""

import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import cellml
from cellml.annotate import exchange, learning
from cellml.annotate.document import Change, Document
from cellml.annotate.images import region_reader
from cellml.annotate.jobs import Job, Jobs
from cellml.annotate.learning import Models
from cellml.annotate.objects import polygons_to_json
from cellml.annotate.operations import brushed, read_number, read_points
from cellml.annotate.pyramid import TILE_PX
from cellml.annotate.workspace import Workspace
from cellml.errors import UserError

ANYWHERE_PX = (10_000_000, 10_000_000)
STEPS_MAX = 1e5


class NotFoundError(UserError):
    """There is no such image, tile or job."""


@dataclass(frozen=True)
class Call:
    """What a handler gets.

    Attributes:
      path: Parts of the address.
      query: Behind the question mark.
      body: The JSON object sent; empty if there was none.
      upload: Name and content of the file sent, if one was.
    """

    path: Mapping[str, Any]
    query: Mapping[str, str]
    body: Mapping[str, Any]
    upload: tuple[str, BinaryIO] | None = None


class Bytes(NamedTuple):
    """An answer that is not JSON."""

    data: bytes
    headers: dict[str, str]


class Download(NamedTuple):
    """A file to send; `remove` is called when it was."""

    path: Path
    remove: Callable[[], None]


class Handlers:
    """What the routes do; each takes a `Call` and gives JSON, `Bytes` or a `Download`."""

    def __init__(self, workspace: Workspace, models: Models, jobs: Jobs) -> None:
        """Keeps what all requests share."""
        self.workspace, self.models, self.jobs = workspace, models, jobs

    def folder(self, call: Call | None = None) -> dict[str, Any]:
        """The list of images, classes and models."""
        space = self.workspace
        return {
            "folder": str(space.images.folder),
            "out": str(space.out),
            "writable": space.writable,
            "why_read_only": space.why_read_only,
            "images": space.image_rows(),
            "classes": [item.to_json() for item in space.classes],
            "model": self.models.current,
            "models": self.models.names(),
            "version": cellml.__version__,
        }

    def set_classes(self, call: Call) -> dict[str, Any]:
        """Replaces the classes."""
        self.workspace.set_classes(call.body.get("classes"))
        return self.folder()

    def set_model(self, call: Call) -> dict[str, Any]:
        """Uses another model."""
        self.workspace.require_writable()
        self.models.choose(call.body.get("model"))
        self.models.warm_up()
        return self.folder()

    def image(self, call: Call) -> dict[str, Any]:
        """One image and its objects."""
        index = self._index(call)
        image = self.workspace.images.open(index)
        pyramid = image.pyramid
        with self.workspace.document(index) as document, document.lock:
            return {
                "index": index,
                "name": self.workspace.images.entries[index].name,
                "height": pyramid.height,
                "width": pyramid.width,
                "channels": list(image.channels),
                "dtype": pyramid.dtype.name,
                "offset": pyramid.offset,
                "step": pyramid.step,
                "ranges": pyramid.ranges,
                "maximum": pyramid.maximum,
                "tile": TILE_PX,
                "levels": pyramid.levels,
                "notes": [*image.notes, *document.notes],
                "revision": document.revision,
                "objects": [item.to_json() for item in document.sorted_objects()],
                **_flags(document),
            }

    def tile(self, call: Call) -> Bytes:
        """Pixels of one tile."""
        image = self.workspace.images.open(self._index(call))
        level, row, column = (call.path[name] for name in ("level", "row", "column"))
        try:
            tile = image.pyramid.tile(level, row, column)
        except IndexError as error:
            raise NotFoundError(str(error)) from error
        headers = {"X-Height": str(tile.shape[1]), "X-Width": str(tile.shape[2])}
        return Bytes(tile.tobytes(), headers)

    def operations(self, call: Call) -> dict[str, Any]:
        """Changes the objects of an image."""
        requested = call.body.get("operations")
        if not isinstance(requested, list) or not requested:
            raise UserError("operations: a list of at least one expected")
        return self._change(call, lambda document, base: document.apply(requested, base))

    def undo(self, call: Call) -> dict[str, Any]:
        """Takes the last step back."""
        return self._change(call, lambda document, base: document.undo(base))

    def redo(self, call: Call) -> dict[str, Any]:
        """Repeats a step that was taken back."""
        return self._change(call, lambda document, base: document.redo(base))

    def assist(self, call: Call) -> dict[str, Any]:
        """Proposes an outline."""
        image = self.workspace.images.open(self._index(call))
        prompt = _prompt(call.body)
        start = time.perf_counter()
        found = self.models.assistant.outline(
            region_reader(image),
            image.pixels.shape,
            method=str(call.body.get("method", "unet")),
            invert=_inverted(call.body),
            **prompt,
        )
        return {
            "polygons": polygons_to_json(found.polygons),
            "score": None if found.score is None else float(found.score),
            "inverted": found.inverted,
            "time_ms": round(1000 * (time.perf_counter() - start), 1),
        }

    def brush(self, call: Call) -> dict[str, Any]:
        """Brushes an outline that is not an object yet."""
        return {"polygons": polygons_to_json(brushed(call.body, ANYWHERE_PX))}

    def propose(self, call: Call) -> dict[str, Any]:
        """Starts to fill an image with proposals."""
        self.workspace.require_writable()
        index, name = self._index(call), self._class_name(call.body.get("class"))
        tta, invert = bool(call.body.get("tta")), bool(_inverted(call.body))

        def work(job: Job) -> str:
            return learning.propose(
                self.workspace, self.models, job, index, class_name=name, tta=tta, invert=invert
            )

        return {"job": self.jobs.start("propose", work).id}

    def train(self, call: Call) -> dict[str, Any]:
        """Starts to fine-tune the model."""
        self.workspace.require_writable()
        indices = self._indices(call.body.get("images"))
        if not indices:
            raise UserError("no image was chosen to train on")
        steps = read_number(call.body.get("steps", 200), "steps", low=1.0, high=STEPS_MAX)
        given = call.body.get("class")
        name = self._class_name(given) if given else None

        def work(job: Job) -> str:
            return learning.train(
                self.workspace, self.models, job, indices, class_name=name, steps=int(steps)
            )

        return {"job": self.jobs.start("train", work).id}

    def rank(self, call: Call) -> dict[str, Any]:
        """Starts to rank images by uncertainty: all that are not done, unless some are named."""
        self.workspace.require_writable()
        indices = self._indices(call.body.get("images"))
        if indices is None:
            rows = self.workspace.image_rows()
            indices = [row["index"] for row in rows if not row["done"] and not row["error"]]
        chosen = indices
        work = partial(self._rank, indices=chosen)
        return {"job": self.jobs.start("rank", work).id}

    def next_image(self, call: Call) -> dict[str, Any]:
        """The image to annotate next."""
        after = call.query.get("after", "-1")
        if not after.removeprefix("-").isdecimal():
            raise UserError(f"after: {after!r} found, the index of an image expected")
        return {"index": self.workspace.next_index(int(after))}

    def list_jobs(self, call: Call) -> list[dict[str, Any]]:
        """All jobs."""
        return [job.to_json() for job in self.jobs.list()]

    def cancel_job(self, call: Call) -> dict[str, Any]:
        """Asks a job to stop."""
        try:
            job = self.jobs.get(call.path["job"])
        except KeyError as error:
            raise NotFoundError(f"there is no job {call.path['job']}") from error
        job.cancel()
        return job.to_json()

    def export(self, call: Call) -> dict[str, Any]:
        """Writes files of other programs."""
        self.workspace.require_writable()
        formats = exchange.check_formats(_names(call.body.get("formats")))
        out = self.workspace.out / exchange.EXPORTS
        files = exchange.export(
            self.workspace, formats, self._indices(call.body.get("images")), out
        )
        return {"files": [path.relative_to(out).as_posix() for path in files], "folder": str(out)}

    def export_zip(self, call: Call) -> Download:
        """The same as a zip."""
        formats = exchange.check_formats(_names(call.query.get("formats")))
        given = call.query.get("images")
        numbers = [int(n) if n.isdecimal() else -1 for n in given.split(",")] if given else None
        folder = Path(tempfile.mkdtemp(prefix="cellml-zip-"))
        remove = partial(shutil.rmtree, folder, ignore_errors=True)
        try:
            target = folder / "annotations.zip"
            exchange.export_zip(self.workspace, formats, self._indices(numbers), target)
        except BaseException:
            remove()
            raise
        return Download(target, remove)

    def import_file(self, call: Call) -> dict[str, Any]:
        """Adds the objects of an uploaded file."""
        self.workspace.require_writable()
        index = self._index(call)
        if call.upload is None:
            raise UserError("no file was sent; a form with the field 'file' expected")
        name, source = call.upload

        def save(path: Path) -> None:
            with path.open("wb") as target:
                shutil.copyfileobj(source, target)

        change, message = exchange.import_upload(self.workspace, index, name, save)
        with self.workspace.document(index) as document:
            return {**_answer(change, document), "message": message}

    def _rank(self, job: Job, *, indices: list[int]) -> str:
        return learning.rank(self.workspace, self.models, job, indices)

    def _change(self, call: Call, step: Callable[[Document, int], Change]) -> dict[str, Any]:
        self.workspace.require_writable()
        base = call.body.get("base_revision")
        if not isinstance(base, int) or isinstance(base, bool):
            raise UserError(f"base_revision: {base!r} found, a whole number expected")
        with self.workspace.document(self._index(call)) as document, document.lock:
            change = step(document, base)
            answer = _answer(change, document)
        self.workspace.add_classes(dict.fromkeys(item.class_name for item in change.objects))
        return answer

    def _index(self, call: Call) -> int:
        return self._known(call.path["index"])

    def _known(self, index: Any) -> int:
        count = len(self.workspace.images.entries)
        if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < count:
            raise NotFoundError(f"there is no image {index}; the folder has {count}")
        return index

    def _indices(self, given: Any) -> list[int] | None:
        if given is None:
            return None
        if not isinstance(given, list):
            raise UserError("images: a list of indices, or null for all, expected")
        return list(dict.fromkeys(self._known(index) for index in given))

    def _class_name(self, given: Any) -> str:
        names = [item.name for item in self.workspace.classes]
        if given not in names:
            raise UserError(f"class {given!r} found, one of {', '.join(names)} expected")
        return given


def _flags(document: Document) -> dict[str, bool]:
    return {
        "can_undo": document.can_undo,
        "can_redo": document.can_redo,
        "done": document.done,
    }


def _answer(change: Change, document: Document) -> dict[str, Any]:
    return {
        "revision": change.revision,
        "removed": change.removed,
        "objects": [item.to_json() for item in change.objects],
        **_flags(document),
    }


def _prompt(body: Mapping[str, Any]) -> dict[str, Any]:
    """The one prompt of a request for an outline, checked."""
    given = [name for name in ("polygon", "point", "box") if body.get(name) is not None]
    if len(given) != 1:
        raise UserError(
            f"one of polygon, point and box expected, found: {', '.join(given) or 'none'}"
        )
    name, value = given[0], body[given[0]]
    if name == "polygon":
        return {name: read_points(value, least=3)}
    count = 2 if name == "point" else 4
    if not isinstance(value, list) or len(value) != count:
        raise UserError(f"{name}: a list of {count} numbers expected")
    return {name: tuple(read_number(number, name) for number in value)}


def _inverted(body: Mapping[str, Any]) -> bool | None:
    """Whether bright and dark are exchanged; None leaves that to the assistant."""
    given = body.get("invert")
    if given is not None and not isinstance(given, bool):
        raise UserError(f"invert: {given!r} found; true, false or null expected")
    return given


def _names(given: Any) -> list[str] | None:
    """Names as a list, or as text with commas; None for all."""
    names = given.split(",") if isinstance(given, str) else given
    if names is None or names == [""]:
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError("formats: a list of names, or null for all, expected")
    return names
