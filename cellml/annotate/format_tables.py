"""Annotations as text: bounding boxes (CSV, YOLO) and run lengths (CSV of the DSB 2018).

- Boxes: `x,y,width,height,class`, the first four as AnnotatorJ's exporter names them.
- YOLO: `class x y width height`, the box's centre and size as fractions of the image's sides with
  six digits; `classes.txt` lists the names. Polygons of YOLO are read as well.
- DSB 2018: `ImageId,EncodedPixels`, one row an object, one file for all images.
"""

import contextlib
import csv
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from cellml.annotate.format_rle import decode_kaggle, encode_kaggle, mask_runs, outline_runs
from cellml.annotate.import_records import Found
from cellml.annotate.objects import (
    AnnotatedObject,
    bounds,
    box_polygons,
    polygons_from_json,
)
from cellml.annotate.outlines import object_window
from cellml.data.images import EXTENSIONS, image_stem
from cellml.data.text_tables import line_of, read_text_table
from cellml.data.writers import atomic
from cellml.errors import UserError

BOX_COLUMNS = ("x", "y", "width", "height", "class")
KAGGLE_COLUMNS = ("ImageId", "EncodedPixels")

AddImage = Callable[[str, Sequence[AnnotatedObject], tuple[int, int]], None]
"""Adds one image to a file for all: its name, its objects, its height and width."""


def write_boxes(path: Path, objects: Sequence[AnnotatedObject]) -> None:
    """Writes the box of every object, one row each."""
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(BOX_COLUMNS)
        for item in objects:
            x0, y0, x1, y1 = bounds(item.polygons)
            sides = [_short(value) for value in (x0, y0, x1 - x0, y1 - y0)]
            rows.writerow([*sides, item.class_name])


def read_boxes(path: Path) -> list[Found]:
    """Reads a table of boxes; `w` and `h` do for `width` and `height`, a class may be missing."""
    table = read_text_table(path, required=("x", "y"))
    names = table.column_names
    sides = ["x", "y", *(long if long in names else short for long, short in _SIDES)]
    for name in sides:
        if name not in names:
            raise UserError(f"{path}: no column {name!r}, x, y, width and height expected")
    columns = [table.column(name).to_pylist() for name in sides]
    blank = [""] * table.num_rows
    classes = table.column("class").to_pylist() if "class" in names else blank
    found = []
    for row, values in enumerate(zip(*columns, strict=True)):
        where = f"{path}, line {line_of(row)}"
        x, y, width, height = (_number(value, where) for value in values)
        if width <= 0 or height <= 0:
            raise UserError(f"{where}: box of {width:g} x {height:g} px, sides above 0 expected")
        polygons = polygons_from_json(box_polygons(x, y, x + width, y + height), where)
        found.append(Found("box", classes[row] or None, polygons))
    return found


def write_yolo(
    path: Path,
    objects: Sequence[AnnotatedObject],
    shape: tuple[int, int],
    classes: Sequence[str],
) -> None:
    """Writes the box of every object as YOLO has it.

    Args:
      path: A text file; an image without objects gets an empty one.
      objects: Objects of these classes.
      shape: Height and width of the image.
      classes: Names in the order of their numbers, from 0.
    """
    height, width = shape
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        for item in objects:
            x0, y0, x1, y1 = bounds(item.polygons)
            place = ((x0 + x1) / 2 / width, (y0 + y1) / 2 / height)
            size = ((x1 - x0) / width, (y1 - y0) / height)
            number = list(classes).index(item.class_name)
            file.write(f"{number} " + " ".join(f"{v:.6f}" for v in (*place, *size)) + "\n")


def write_yolo_classes(path: Path, classes: Sequence[str]) -> None:
    """Writes the names of classes, one a line, number 0 first."""
    with atomic(path) as temporary:
        temporary.write_text("".join(f"{name}\n" for name in classes), encoding="utf-8")


def read_yolo(path: Path, shape: tuple[int, int], classes: Sequence[str]) -> list[Found]:
    """Reads boxes (five numbers a line) and polygons (a class and at least three points).

    Args:
      path: A text file; a `classes.txt` beside it or one folder up names the classes.
      shape: Height and width of the image.
      classes: Names of classes where there is no such file.

    Returns:
      Records.

    Raises:
      UserError: A line of another kind, or a class without a name.
    """
    height, width = shape
    for folder in (path.parent, path.parent.parent):
        if (folder / "classes.txt").is_file():
            classes = _text(folder / "classes.txt").split("\n")
            break
    found = []
    for line, text in enumerate(_text(path).splitlines(), start=1):
        if not text.strip():
            continue
        where = f"{path}, line {line}"
        first, *numbers = (_number(word, where) for word in text.split())
        if len(numbers) != 4 and (len(numbers) < 6 or len(numbers) % 2):
            raise UserError(
                f"{where}: {len(numbers) + 1} values, a class with a box or a polygon expected"
            )
        if first != int(first) or not 0 <= first < len(classes) or not classes[int(first)].strip():
            raise UserError(
                f"{where}: class {first:g}, but {len(classes)} classes are known; "
                "put classes.txt beside the file"
            )
        name = classes[int(first)].strip()
        if len(numbers) == 4:
            x, y, w, h = (v * side for v, side in zip(numbers, (width, height) * 2, strict=True))
            if w <= 0 or h <= 0:
                raise UserError(f"{where}: box of {w:g} x {h:g} px, sides above 0 expected")
            box = box_polygons(x - w / 2, y - h / 2, x + w / 2, y + h / 2)
            found.append(Found("box", name, polygons_from_json(box, where)))
        else:
            ring = [(x * width, y * height) for x, y in zip(*[iter(numbers)] * 2, strict=True)]
            found.append(Found("instance", name, polygons_from_json([[ring]], where)))
    return found


@contextlib.contextmanager
def kaggle_writer(path: Path) -> Iterator[AddImage]:
    """Opens a table of run lengths for many images.

    Args:
      path: A CSV file; it is there, whole, when the block ends well.

    Yields:
      A function that adds one image: a row for each object, one with empty EncodedPixels for an
      image without any, as Kaggle's tables have it.
    """
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(KAGGLE_COLUMNS)

        def add(name: str, objects: Sequence[AnnotatedObject], shape: tuple[int, int]) -> None:
            windows = [object_window(item, shape) for item in objects]
            runs = [
                encode_kaggle(mask_runs(mask, (box[0].start, box[1].start), shape))
                for box, mask in (window for window in windows if window is not None)
            ]
            rows.writerows([name, text] for text in [text for text in runs if text] or [""])

        yield add


def read_kaggle(path: Path, shape: tuple[int, int], image_name: str | None) -> list[Found]:
    """Reads the rows of one image.

    Args:
      path: The table.
      shape: Height and width of the image.
      image_name: Value of ImageId, with or without its ending; may be None if there is only one.

    Returns:
      Records without a class; overlaps are kept.

    Raises:
      UserError: The image is not in the table, or its runs do not fit it.
    """
    table = read_text_table(path, required=KAGGLE_COLUMNS)
    ids, texts = (table.column(name).to_pylist() for name in KAGGLE_COLUMNS)
    wanted = choose_image(path, list(dict.fromkeys(ids)), image_name)
    found = []
    for row, (image, text) in enumerate(zip(ids, texts, strict=True)):
        if image == wanted and text.strip():
            runs = decode_kaggle(text, shape, f"{path}, line {line_of(row)}")
            polygons = outline_runs(runs, shape)
            if polygons:
                found.append(Found("instance", None, polygons))
    return found


def choose_image(path: Path, there: Sequence[str], image_name: str | None) -> str | None:
    """Finds an image among those of a file.

    Args:
      path: The file, for the message.
      there: Names in the file.
      image_name: Name of the image; endings are not compared. None: there is one image only.

    Returns:
      The name as the file has it; None where the file names no image.

    Raises:
      UserError: It is not there, or there are several and no name is given.
    """
    if not there:
        return None
    if image_name is None:
        if len(there) > 1:
            raise UserError(f"{path}: {len(there)} images in this file, the image's name is needed")
        return there[0]
    for same in (str, lambda name: Path(name).name, without_ending):
        for name in there:
            if same(name) == same(image_name):
                return name
    shown = ", ".join(there[:3]) + (", ..." if len(there) > 3 else "")
    raise UserError(f"{path}: no image {image_name!r} in this file (it has {shown})")


def without_ending(name: str) -> str:
    """Returns the last part of an image's name, without the ending if it is one of an image."""
    path = Path(name)
    return image_stem(path) if path.suffix.lower() in EXTENSIONS else path.name


_SIDES = (("width", "w"), ("height", "h"))


def _short(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(round(value, 6))


def _number(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"{where}: {text!r} found, a finite number expected")
    return value


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as text ({error})") from error
