"""The classes of a folder and their colours, in `classes.json`."""

import json
import re
import reprlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cellml.data.writers import write_json
from cellml.errors import UserError

DEFAULT_CLASS = "nucleus"
FILE = "classes.json"

PALETTE = (
    "#4fc3f7",
    "#ffb74d",
    "#aed581",
    "#f06292",
    "#ba68c8",
    "#fff176",
    "#4db6ac",
    "#ff8a65",
    "#90a4ae",
    "#7986cb",
)
"""Colours of new classes in turn, readable on dark and bright pictures."""


@dataclass(frozen=True)
class AnnotationClass:
    """A class: its name and its colour, `#rrggbb`."""

    name: str
    color: str

    def to_json(self) -> dict[str, str]:
        """As the page and the file have it."""
        return {"name": self.name, "color": self.color}


def parse_classes(record: Any, where: str = "classes") -> list[AnnotationClass]:
    """Checks classes from JSON.

    Args:
      record: A list of `{"name", "color"}`; a missing colour is chosen.
      where: What the message begins with.

    Returns:
      At least one class, names trimmed.

    Raises:
      UserError: No class, a name that is empty, too long or there twice, or a colour that is none.
    """
    if not isinstance(record, list) or not record:
        raise UserError(f"{where}: a list of at least one class expected")
    found: list[AnnotationClass] = []
    for place, item in enumerate(record):
        name = check_name(item.get("name") if isinstance(item, dict) else None, where)
        if any(other.name == name for other in found):
            raise UserError(f"{where}: class {name!r} is there twice")
        color = item.get("color") or PALETTE[place % len(PALETTE)]
        if not isinstance(color, str) or not re.fullmatch(r"#[0-9a-fA-F]{6}", color):
            raise UserError(f"{where}: colour {color!r} found, #rrggbb expected")
        found.append(AnnotationClass(name, color.lower()))
    return found


def check_name(name: Any, where: str = "class") -> str:
    """Checks the name of a class.

    Args:
      name: What was given.
      where: What the message begins with.

    Returns:
      The name, trimmed.

    Raises:
      UserError: It is empty, too long, or cannot be the name of a folder.
    """
    if not isinstance(name, str) or not name.strip() or len(name) > 100:
        raise UserError(f"{where}: name {reprlib.repr(name)} found, 1 to 100 letters expected")
    if not name.isprintable() or "/" in name or "\\" in name or name.strip().startswith("."):
        # exports put a class's files into a folder of its name
        raise UserError(f"{where}: name {name!r} has a slash, a leading dot or a control code")
    return name.strip()


def usable_name(name: str) -> str:
    """The name of a class from another program with `_` for what `check_name` refuses."""
    kept = "".join("_" if c in "/\\" or not c.isprintable() else c for c in name.strip()[:100])
    return re.sub(r"^\.+", "_", kept).strip() or DEFAULT_CLASS


def extend_classes(
    classes: Sequence[AnnotationClass], names: Iterable[str]
) -> list[AnnotationClass]:
    """Adds classes that are missing, in the next colours of the palette."""
    found = list(classes)
    for name in names:
        if all(item.name != name for item in found):
            taken = {item.color for item in found}
            free = [color for color in PALETTE if color not in taken]
            color = free[0] if free else PALETTE[len(found) % len(PALETTE)]
            found += parse_classes([{"name": name, "color": color}])
    return found


def read_classes(folder: Path) -> list[AnnotationClass]:
    """Reads `classes.json`.

    Args:
      folder: Where it is, if it is.

    Returns:
      Its classes; none without the file.

    Raises:
      UserError: The file is damaged.
    """
    path = folder / FILE
    try:
        return parse_classes(json.loads(path.read_text(encoding="utf-8")), str(path))
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); mend or remove it") from error


def write_classes(folder: Path, classes: Sequence[AnnotationClass]) -> None:
    """Writes `classes.json`."""
    write_json(folder / FILE, [item.to_json() for item in classes])
