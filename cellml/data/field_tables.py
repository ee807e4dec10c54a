"""Fields of view from what people have besides LoadData: index tables, any names of files.

Readers give `painting_importers.Fields`, as those there do; `add_wells` and `name_treatments` add
what is known of the wells.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from cellml.data.images import EXTENSIONS
from cellml.data.painting_importers import Fields
from cellml.data.painting_project import INDEX_KEYS, METADATA, field_keys
from cellml.data.text_tables import line_of, read_text_table, suggestion
from cellml.data.wells import normalise_well, well_name
from cellml.errors import UsageError, UserError

KEY_NAMES = (
    ("Metadata_Plate", "plate", "plate_id", "barcode", "Assay_Plate_Barcode"),
    ("Metadata_Well", "well", "well_id", "well_position"),
    ("Metadata_Site", "site", "field", "fov"),
)
"""What plate, well and site are called, in capitals or not; the first name is DeepProfiler's."""
PLACES = {
    "plate": r"[^/]+?",
    "well": r"[A-Za-z]{1,2}\d{1,2}",
    "row": r"\d{1,2}",
    "column": r"\d{1,2}",
    "site": r"\d+",
    "channel": r"[^/]+?",
}
"""What the places of a pattern stand for; `row` and `column` are numbers from 1."""
TREATMENT = "Metadata_treatment"


def read_field_table(
    path: Path, *, images: Path | None = None, channels: Mapping[str, str] | None = None
) -> Fields:
    """Reads a table with a line a field: DeepProfiler's index.csv, or one much like it.

    Args:
      path: CSV, tab-separated or Parquet with plate and well (see `KEY_NAMES`), a path an image,
        and further columns. Without a column of sites, a well's lines are counted from 1.
      images: Folder in which the paths start; by default `inputs/images` of the project that the
        index belongs to, else the table's own folder.
      channels: Names of the channels by their columns; by default the columns in which every
        value ends like an image file.

    Returns:
      The fields. Columns keep their names in DeepProfiler's index; elsewhere those that do not
      begin with Metadata_ get it in front.

    Raises:
      UserError: A column is missing, a well is none, or a value is empty.
    """
    table = read_text_table(path)
    keys = _key_columns(path, table)
    if channels is None:
        named = [name for name in table.column_names if _all_images(table[name].to_pylist())]
        channels = {name: name for name in named}
        if not channels:
            raise UserError(
                f"{path}: no column of images; every value would end in {', '.join(EXTENSIONS)}"
            )
    for name in channels:
        if name not in table.column_names:
            raise UserError(f"{path}: no column {name!r}{suggestion(name, table.column_names)}")
    base = (images or _image_folder(path)).resolve()
    columns = _keys(path, table, keys)
    for name, channel in channels.items():
        values = table[name].to_pylist()
        if "" in values:
            raise UserError(f"{path}, line {line_of(values.index(''))}: no image in {name!r}")
        columns[channel] = [str(base / value) for value in values]
    verbatim = keys[0] == INDEX_KEYS[0]
    for name in table.column_names:
        if name not in channels and name not in keys:
            kept = verbatim or name.startswith("Metadata_")
            columns.setdefault(name if kept else f"Metadata_{name}", table[name].to_pylist())
    return Fields(pa.table(columns), tuple(channels.values()))


def read_named_images(
    folder: Path, pattern: str, *, channels: Mapping[str, str] | None = None
) -> Fields:
    """Reads plates, wells, sites and channels from names that follow a pattern.

    Args:
      folder: All images below it are looked at; what does not fit the pattern is left out.
      pattern: Path of an image from `folder` on (or the end of it), with {channel} and what there
        is of {plate}, {well} (or {row} and {column}) and {site}; `*` stands for anything in a name.
        Example: `{plate}/{well}_s{site}_w{channel}*.tif`.
      channels: Names by what stands at {channel}, in the order wanted; by default all, sorted.

    Returns:
      The fields, sorted. What has no place in the pattern is the folder's name for the plate,
      A01 for the well and 1 for the site.

    Raises:
      UsageError: A place is unknown or occurs twice, or there is no {channel}.
      UserError: Nothing fits, an image of a field is missing, or there are two.
    """
    fitting = compile_pattern(pattern)
    found: dict[tuple[str, str, str], dict[str, Path]] = {}
    seen: set[str] = set()
    for path in sorted(folder.rglob("*")):
        match = fitting.fullmatch(path.relative_to(folder).as_posix())
        if match is None or not path.is_file() or path.suffix.lower() not in EXTENSIONS:
            continue
        facts = match.groupdict()
        if channels is not None and facts["channel"] not in channels:
            continue
        seen.add(facts["channel"])
        channel = facts["channel"] if channels is None else channels[facts["channel"]]
        field = found.setdefault(_key_of_name(path, folder, facts), {})
        other = field.setdefault(channel, path)
        if other is not path:
            raise UserError(f"{other} and {path} are the same channel of the same field")
    if not found:
        among = "" if channels is None else f" with a channel among {', '.join(channels)}"
        raise UserError(f"{folder}: no image is named {pattern}{among}")
    names = sorted(seen) if channels is None else list(channels.values())
    for key, field in found.items():
        for name in names:
            if name not in field:
                raise UserError(
                    f"{folder}: plate {key[0]}, well {key[1]}, site {key[2]}: no {name} image"
                )
    ordered = sorted(found)
    columns: dict[str, Any] = {n: [key[i] for key in ordered] for i, n in enumerate(INDEX_KEYS)}
    columns |= {name: [str(found[key][name].resolve()) for key in ordered] for name in names}
    return Fields(pa.table(columns), tuple(names))


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Turns `{plate}_{well}*.tif` into a regular expression, see `read_named_images`.

    Raises:
      UsageError: As there.
    """
    expression, used = "", list[str]()
    for part in re.split(r"(\{.*?\}|\*)", pattern):
        if part == "*":
            expression += "[^/]*?"
        elif part.startswith("{"):
            name = part[1:-1]
            if name not in PLACES or name in used:
                fault = "occurs twice" if name in used else "is unknown"
                known = ", ".join(f"{{{place}}}" for place in PLACES)
                raise UsageError(f"pattern {pattern!r}: {part} {fault}; known are {known}")
            used.append(name)
            expression += f"(?P<{name}>{PLACES[name]})"
        else:
            expression += re.escape(part)
    if "channel" not in used or ("row" in used) != ("column" in used):
        missing = "{channel}" if "channel" not in used else "{row} or {column}"
        raise UsageError(f"pattern {pattern!r}: no {missing}")
    return re.compile(f"(?:.*/)?{expression}")


def add_wells(fields: Fields, path: Path) -> Fields:
    """Adds what a table says of every well: one plate map for all plates, or with their names.

    Args:
      fields: The fields.
      path: Table with a column of wells and, if plates differ, one of plates, see `KEY_NAMES`.

    Returns:
      Fields with columns `Metadata_<column>`; wells that are not in the table get nothing.

    Raises:
      UserError: There is no column of wells, a well is none or occurs twice, or no well is known.
    """
    table = read_text_table(path)
    plate, well = (_find(table, names) for names in KEY_NAMES[:2])
    if well is None:
        close = ", ".join(table.column_names)
        raise UserError(f"{path}: no column of wells ({', '.join(KEY_NAMES[1])}; found: {close})")
    facts: dict[tuple[str | None, str], dict[str, str]] = {}
    for row, line in enumerate(table.to_pylist()):
        key = (line[plate] if plate else None, _well(path, row, line[well]))
        if facts.setdefault(key, line) is not line:
            raise UserError(f"{path}, line {line_of(row)}: well {line[well]} is there twice")
    given = (fields.table[name].to_pylist() for name in INDEX_KEYS[:2])
    keys = [(p if plate else None, normalise_well(w)) for p, w in zip(*given, strict=True)]
    if not any(key in facts for key in keys):
        raise UserError(f"{path}: none of its wells is one of the fields'")
    columns = dict(zip(fields.table.column_names, fields.table.columns, strict=True))
    for name in table.column_names:
        if name not in (plate, well):
            values = [facts.get(key, {}).get(name, "") for key in keys]
            ours = name if name.startswith("Metadata_") else f"Metadata_{name}"
            columns.setdefault(ours, pa.array(values, pa.string()))
    return fields._replace(table=pa.table(columns))


def name_treatments(fields: Fields, columns: Sequence[str]) -> tuple[Fields, str]:
    """Finds the column of treatments, or makes it of several (a compound and its dose).

    Args:
      fields: The fields.
      columns: Names of columns, with or without Metadata_ in front. Values of several are joined
        by @ as column Metadata_treatment.

    Returns:
      The fields, and the name of the column.

    Raises:
      UsageError: There is no such column.
    """
    names = []
    for given in columns:
        known = fields.table.column_names
        name = given if given in known else f"Metadata_{given}"
        if name not in known:
            raise UsageError(f"no column {given!r} for the treatments{suggestion(given, known)}")
        names.append(name)
    if len(names) == 1:
        return fields, names[0]
    parts = zip(*(fields.table[name].to_pylist() for name in names), strict=True)
    joined = pa.array(["@".join(filter(None, part)) for part in parts], pa.string())
    table = fields.table
    if TREATMENT in table.column_names:
        table = table.drop_columns([TREATMENT])
    return fields._replace(table=table.append_column(TREATMENT, joined)), TREATMENT


def check_fields(fields: Fields, path: Path) -> None:
    """Checks the fields of a table before a project is made of them.

    Args:
      fields: A row each line of the table.
      path: The table, for messages.

    Raises:
      UserError: A field is on two lines, or an image is not there; the first such line is named.
    """
    field_keys(path, fields.table)
    images = (fields.table[channel].to_pylist() for channel in fields.channels)
    for row, files in enumerate(zip(*images, strict=True)):
        for file in files:
            if not Path(file).is_file():
                raise UserError(f"{path}, line {line_of(row)}: no image {file}")


def _find(table: pa.Table, names: Sequence[str]) -> str | None:
    folded = {name.casefold(): name for name in reversed(table.column_names)}
    return next((folded[n.casefold()] for n in names if n.casefold() in folded), None)


def _key_columns(path: Path, table: pa.Table) -> tuple[str, str, str | None]:
    plate, well, site = (_find(table, names) for names in KEY_NAMES)
    if plate is None or well is None:
        missing = KEY_NAMES[0 if plate is None else 1]
        found = ", ".join(table.column_names)
        raise UserError(f"{path}: no column {missing[0]!r} or {missing[1]!r} (found: {found})")
    return plate, well, site


def _keys(path: Path, table: pa.Table, keys: tuple[str, str, str | None]) -> dict[str, Any]:
    plates, given = table[keys[0]].to_pylist(), table[keys[1]].to_pylist()
    wells = [_well(path, row, name) for row, name in enumerate(given)]
    if keys[2] is not None:
        sites = table[keys[2]].to_pylist()
    else:
        counts: dict[tuple[str, str], int] = {}
        sites = []
        for key in zip(plates, wells, strict=True):
            counts[key] = counts.get(key, 0) + 1
            sites.append(str(counts[key]))
    for name, values in zip(KEY_NAMES, (plates, wells, sites), strict=True):
        if "" in values:
            raise UserError(f"{path}, line {line_of(values.index(''))}: no {name[1]}")
    return dict(zip(INDEX_KEYS, (plates, wells, sites), strict=True))


def _well(path: Path, row: int, name: str) -> str:
    try:
        return normalise_well(name)
    except ValueError as error:
        raise UserError(f"{path}, line {line_of(row)}: {error}") from error


def _all_images(values: Sequence[str]) -> bool:
    return bool(values) and all(value.lower().endswith(EXTENSIONS) for value in values)


def _image_folder(index: Path) -> Path:
    folder = index.resolve().parent
    images = folder.parent / "images"
    inside = folder.parts[-len(METADATA.parts) :] == METADATA.parts
    return images if inside and images.is_dir() else folder


def _key_of_name(path: Path, folder: Path, facts: Mapping[str, str | None]) -> tuple[str, str, str]:
    try:
        if facts.get("row"):
            well = well_name(int(facts["row"] or 0) - 1, int(facts["column"] or 0) - 1)
        else:
            well = normalise_well(facts.get("well") or "A01")
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error
    site = facts.get("site")
    return facts.get("plate") or folder.resolve().name, well, str(int(site)) if site else "1"
