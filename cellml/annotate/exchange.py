"""Files of other programs over the web: exports into the folder or a zip, imports of an upload."""

import re
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from cellml.annotate.classes import usable_name
from cellml.annotate.document import Change
from cellml.annotate.import_records import plural
from cellml.annotate.workspace import Workspace
from cellml.data.writers import ZIP_DATE
from cellml.errors import UserError

EXPORTS = "exports"


def check_formats(formats: Sequence[str] | None) -> list[str]:
    """Checks names of formats.

    Args:
      formats: Names out of `cellml.annotate.exports.FORMATS`; all if None.

    Returns:
      The names, each once.

    Raises:
      UserError: There is no such format, or none was chosen.
    """
    from cellml.annotate import exports

    chosen = exports.check_formats(formats)
    if not chosen:
        raise UserError("no format was chosen")
    return list(chosen)


def export(
    workspace: Workspace, formats: Sequence[str], indices: Sequence[int] | None, out: Path
) -> list[Path]:
    """Writes annotated images in the formats of other programs.

    Args:
      workspace: Where they are.
      formats: See `check_formats`.
      indices: Of the images; those with objects if None.
      out: Folder to write into.

    Returns:
      The files.

    Raises:
      UserError: There is nothing to export, or a file cannot be written.
    """
    from cellml.annotate.exports import AnnotatedImage, export_folder

    if indices is None:
        rows = workspace.image_rows()
        indices = [row["index"] for row in rows if row["n_objects"] and not row["error"]]
    if not indices:
        raise UserError("there is nothing to export: no image has objects")

    def annotated() -> Iterator[AnnotatedImage]:
        for index in indices:
            image, name = workspace.images.open(index), workspace.images.entries[index].name
            with workspace.document(index) as document, document.lock:
                objects = document.sorted_objects()
            yield AnnotatedImage(name, objects, image.pixels)

    colours = {item.name: item.color for item in workspace.classes}
    return list(dict.fromkeys(export_folder(annotated(), out, list(formats), classes=colours)))


def export_zip(
    workspace: Workspace, formats: Sequence[str], indices: Sequence[int] | None, target: Path
) -> None:
    """Writes what `export` gives into a zip; nothing is left in the folder.

    Args:
      workspace: Where the images are.
      formats: See `check_formats`.
      indices: As for `export`.
      target: The zip.

    Raises:
      UserError: As for `export`.
    """
    with tempfile.TemporaryDirectory(prefix="cellml-export-") as temporary:
        out = Path(temporary)
        files = export(workspace, formats, indices, out)
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(set(files)):
                entry = zipfile.ZipInfo(path.relative_to(out).as_posix(), ZIP_DATE)
                archive.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED)


def import_upload(
    workspace: Workspace, index: int, name: str, save: Callable[[Path], None]
) -> tuple[Change, str]:
    """Adds the objects of an uploaded file to an image, as one step.

    Args:
      workspace: Where the image is.
      index: Of the image.
      name: Of the file, as the browser says.
      save: Writes the upload to a path.

    Returns:
      What changed, and a sentence for the page.

    Raises:
      UserError: The file is none of a known format, or does not fit the image.
    """
    from cellml.annotate.imports import read_annotations

    size, entry = workspace.images.open(index).size, workspace.images.entries[index]
    classes = [item.name for item in workspace.classes]
    with tempfile.TemporaryDirectory(prefix="cellml-import-") as temporary:
        path = Path(temporary) / _safe_name(name)
        save(path)
        try:
            found = read_annotations(path, size, classes=classes, image_name=entry.name)
        except UserError as error:  # the temporary folder is nothing that a user knows
            raise UserError(str(error).replace(f"{temporary}/", "")) from error
    objects = [replace(item, class_name=usable_name(item.class_name)) for item in found.objects]
    with workspace.document(index) as document:
        change, left_out = document.add(objects)
    workspace.add_classes(dict.fromkeys(item.class_name for item in change.objects))
    count = len(found.objects) - left_out
    notes = list(found.notes)
    for old in dict.fromkeys(item.class_name for item in found.objects):
        if usable_name(old) != old:
            notes.append(f"class {old[:40]!r} is called {usable_name(old)[:40]!r} here")
    if left_out:
        notes.append(f"{left_out} enclose nothing within the image and were left out")
    return change, "; ".join([f"{plural(count, 'object')} imported from {path.name}", *notes])


def _safe_name(name: str) -> str:
    """The last part of a path from anywhere, without what file systems do not like."""
    last = re.split(r"[/\\]", name)[-1]
    kept = re.sub(r"[^\w.() +-]", "_", last).strip(". ")
    return kept[-150:] or "upload"
