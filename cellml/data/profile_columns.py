"""Which columns of a table of profiles are metadata, and which are features.

Metadata are `Metadata_...`, and `Image_Metadata_...` as CellProfiler writes them, which are then
called `Metadata_...` as well. Features are, if any column is called `Cells_...`, `Cytoplasm_...` or
`Nuclei_...`, these, as pycytominer's `infer_cp_features` takes them; else every column of numbers
that is no number of an image or object and no position. A regular expression overrules that.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from cellml.errors import UserError

METADATA = "Metadata_"
IMAGE_METADATA = "Image_Metadata_"
COMPARTMENTS = ("Cells_", "Cytoplasm_", "Nuclei_")
NO_FEATURE = re.compile(
    r"(Table|Image|Object)_?Number|(Image|Experiment)_.*|(.+_)?Number_Object_Number"
    r"|(.+_)?(Location|Parent|Children)_.*|cell_id|[xy]_px|status|index|level_0|Unnamed: \d+|",
    re.IGNORECASE,
)
"""Numbers that say which image or object a row is of, or where it lies; and the index of pandas."""
POSITION = re.compile(r".*_(Location|Parent|Children|Center|BoundingBox\w*|Number_Object)_.*")
"""Features of CellProfiler that say where an object lies rather than what it is like."""


class Columns(NamedTuple):
    """What the columns of a table are.

    Attributes:
      metadata: Name in the file to the name `Metadata_...`.
      features: Names of the features, in the order of the file.
      taken: Which columns became features, in words.
      notes: What may surprise, for people.
    """

    metadata: dict[str, str]
    features: tuple[str, ...]
    taken: str
    notes: tuple[str, ...]


def metadata_name(name: str) -> str | None:
    """The name `Metadata_...` of a column of metadata; None for any other column."""
    if name.startswith(METADATA):
        return name
    return name.removeprefix("Image_") if name.startswith(IMAGE_METADATA) else None


def sort_columns(
    path: object, names: Sequence[str], numeric: Sequence[bool], *, regex: str | None = None
) -> Columns:
    """Tells metadata from features.

    Args:
      path: Of the table, for messages.
      names: Of its columns.
      numeric: Whether a column holds numbers.
      regex: Features are the columns in which this is found.

    Returns:
      What the columns are.

    Raises:
      UserError: No metadata or no features, or `regex` cannot be read or finds texts.
    """
    metadata = {n: m for n in names if (m := metadata_name(n)) is not None}
    if not metadata:
        raise UserError(
            f"{path}: no column starts with {METADATA} or {IMAGE_METADATA}, found {list(names)[:5]}"
        )
    plain = set(metadata.values()) & set(metadata)
    # Image_Metadata_Plate beside Metadata_Plate: the latter is what the user made of it
    metadata = {n: m for n, m in metadata.items() if n == m or m not in plain}
    others = [(n, isn) for n, isn in zip(names, numeric, strict=True) if metadata_name(n) is None]
    if regex is not None:
        return Columns(metadata, *_matching(path, others, regex), ())
    numbers = [name for name, is_number in others if is_number]
    measured = [name for name in numbers if name.startswith(COMPARTMENTS)]
    features = measured or [name for name in numbers if not NO_FEATURE.fullmatch(name)]
    if not features:
        raise UserError(f"{path}: no feature column")
    notes = []
    if left := [name for name in numbers if name not in set(features)]:
        notes.append(f"not taken as features: {_some(left)}")
    if texts := [n for n, is_number in others if not is_number and not NO_FEATURE.fullmatch(n)]:
        texts.sort(key=lambda name: not name.startswith(COMPARTMENTS))
        notes.append(f"not taken as features, they hold texts: {_some(texts)}")
    if places := [name for name in measured if POSITION.fullmatch(name)]:
        notes.append(
            f"features that say where a cell lies are kept, as in pycytominer: {_some(places)}; "
            "--features-regex chooses others"
        )
    kinds = ", ".join(f"{c}..." for c in COMPARTMENTS if any(n.startswith(c) for n in measured))
    taken = f"columns {kinds}" if measured else "columns of numbers that are no metadata"
    return Columns(metadata, tuple(features), taken, tuple(notes))


def _matching(
    path: object, columns: Sequence[tuple[str, bool]], regex: str
) -> tuple[tuple[str, ...], str]:
    try:
        pattern = re.compile(regex)
    except re.error as error:
        raise UserError(f"--features-regex {regex!r}: {error}") from error
    found = [(name, is_number) for name, is_number in columns if pattern.search(name)]
    if not found:
        raise UserError(f"{path}: no feature column in which {regex!r} is found")
    for name, is_number in found:
        if not is_number:
            raise UserError(f"{path}: feature {name!r} is not numeric")
    return tuple(name for name, _ in found), f"columns in which {regex!r} is found"


def _some(names: Sequence[str]) -> str:
    """A few of many names."""
    rest = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + rest
