"""Makes DeepProfiler projects of what people have: LoadData tables, plate maps, bare images.

Each reader gives `Fields`; `begin_project` writes them as `inputs/`. Images stay where they are:
the index holds their absolute paths.
"""

import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlparse

import pyarrow as pa

from cellml.data.images import find_images, image_stem
from cellml.data.locations import OPERA_PHENIX
from cellml.data.painting_project import (
    CONFIG,
    INDEX_KEYS,
    LOCATIONS,
    METADATA,
    Project,
    open_project,
)
from cellml.data.text_tables import line_of, read_text_table, suggestion, write_csv
from cellml.data.wells import normalise_well, well_name
from cellml.data.writers import atomic, write_json
from cellml.errors import UserError

SITE_COLUMNS = ("Metadata_Site", "Metadata_FieldID", "Metadata_Field", "Metadata_FieldIndex")
ROW_COLUMNS = (("Metadata_Row", "Metadata_Col"), ("Metadata_Row", "Metadata_Column"))
FILE_COLUMN = re.compile(r"(?:Image_)?(?P<kind>FileName|URL)_(?P<name>.+)")
XPRESS_CHANNEL = re.compile(
    r"(?P<plate>.+?)_(?P<well>[A-Za-z]{1,2}\d{1,2})_s(?P<site>\d+)_w(?P<channel>\d)(?P<rest>.*)"
)
PHENIX_CHANNEL = re.compile(r".*-ch(?P<channel>\d+)")


class Fields(NamedTuple):
    """Fields of view, ready to become an index.

    Attributes:
      table: Strings: Metadata_Plate, Metadata_Well, Metadata_Site, an image path a channel, and
        every further column.
      channels: Columns of image paths.
      outlines: Column of the images of objects, if there is one.
    """

    table: pa.Table
    channels: tuple[str, ...]
    outlines: str | None = None


def read_load_data(
    path: Path, *, images: Path | None = None, channels: Mapping[str, str] | None = None
) -> Fields:
    """Reads a LoadData table of CellProfiler.

    Args:
      path: CSV or Parquet with [Image_]FileName_X and [Image_]PathName_X (or [Image_]URL_X, as in
        the Cell Painting Gallery), Metadata_Plate, Metadata_Well (or Metadata_Row and
        Metadata_Col, counted from 1) and Metadata_Site (or Metadata_FieldID).
      images: Folder to look in, by file name, instead of the folders in the table; a URL to
        another machine needs it.
      channels: Names of the channels by their X; the others are left out. By default every X that
        is no illumination function, without a leading "Orig".

    Returns:
      The fields; ObjectsFileName_X becomes the column of outlines (Cells before any other).

    Raises:
      UserError: A column is missing, a well is none, a row has no file.
    """
    table = read_text_table(path)
    found = {m["name"]: m["kind"] for m in map(FILE_COLUMN.fullmatch, table.column_names) if m}
    if channels is None:
        plain = [name for name in found if not name.startswith(("Illum", "Objects"))]
        channels = {name: name.removeprefix("Orig") or name for name in plain}
    for name in channels:
        if name not in found:
            raise UserError(f"{path}: no column FileName_{name}{suggestion(name, found)}")
    if not channels:
        raise UserError(f"{path}: no column FileName_<channel> or URL_<channel>")
    columns = _load_data_keys(path, table)
    for name, channel in channels.items():
        columns[channel] = _load_data_paths(path, table, name, found[name], images)
    objects = [n for n in table.column_names if re.fullmatch(r"(Image_)?ObjectsFileName_.+", n)]
    objects.sort(key=lambda name: not name.endswith("_Cells"))
    if objects:
        folder = objects[0].replace("ObjectsFileName_", "ObjectsPathName_")
        folders = _column(table, folder) or [""] * len(table)
        names = table[objects[0]].to_pylist()
        columns["Outlines"] = [
            str((images or Path(f)) / n) if n else "" for f, n in zip(folders, names, strict=True)
        ]
    for name in table.column_names:
        if name.startswith("Metadata_") and name not in columns:
            columns[name] = table[name].to_pylist()
    return Fields(pa.table(columns), tuple(channels.values()), "Outlines" if objects else None)


def read_image_names(paths: Sequence[str | Path], *, channels: Mapping[str, str]) -> Fields:
    """Reads plates, wells, sites and channels from the names of bare images.

    Args:
      paths: Files, folders or patterns, named `<plate>_<well>_s<site>_w<channel>...` (ImageXpress)
        or `r01c02f03p01-ch1...` in a folder named after the plate (Opera Phenix).
      channels: Names by number, in the order wanted: {"1": "DNA", "2": "RNA"}; images of others
        are left out.

    Returns:
      The fields, sorted.

    Raises:
      UserError: No image has such a name, an image of a field is missing, or there are two.
    """
    found: dict[tuple[str, str, str], dict[str, Path]] = {}
    for path in find_images(paths):
        facts = _image_name(path)
        if facts is None or facts[3] not in channels:
            continue
        field = found.setdefault(facts[:3], {})
        other = field.setdefault(channels[facts[3]], path)
        if other is not path:
            raise UserError(f"{path} and {other} are the same channel of the same field")
    if not found:
        raise UserError(
            f"no image is named <plate>_<well>_s<site>_w<channel> or r01c01f01p01-ch1 with a "
            f"channel among {', '.join(channels)}"
        )
    for key, field in found.items():
        for channel in channels.values():
            if channel not in field:
                raise UserError(f"plate {key[0]}, well {key[1]}, site {key[2]}: no {channel} image")
    ordered = sorted(found)
    columns: dict[str, Any] = {
        name: [key[i] for key in ordered] for i, name in enumerate(INDEX_KEYS)
    }
    for channel in channels.values():
        columns[channel] = [str(found[key][channel].resolve()) for key in ordered]
    return Fields(pa.table(columns), tuple(channels.values()))


def add_platemaps(fields: Fields, barcodes: Path, *, folder: Path | None = None) -> Fields:
    """Adds what plate maps say of every well.

    Args:
      fields: The fields.
      barcodes: Table with Assay_Plate_Barcode and Plate_Map_Name.
      folder: Holds `<Plate_Map_Name>.txt` (or .csv, .tsv), with well_position and further columns;
        by default the folder `platemap` beside `barcodes`.

    Returns:
      Fields with the columns `Metadata_<column>`; wells that a map does not name get nothing.

    Raises:
      UserError: A plate has no line in `barcodes`, a map is missing or lacks a column.
    """
    folder = barcodes.parent / "platemap" if folder is None else folder
    required = ("Assay_Plate_Barcode", "Plate_Map_Name")
    listed = read_text_table(barcodes, required=required)
    maps = dict(zip(*(listed[name].to_pylist() for name in required), strict=True))
    read: dict[str, dict[str, dict[str, str]]] = {}
    facts: list[dict[str, str]] = []
    keys = (fields.table[name].to_pylist() for name in INDEX_KEYS[:2])
    for plate, well in zip(*keys, strict=True):
        if plate not in maps:
            raise UserError(f"{barcodes}: no plate {plate!r}{suggestion(plate, maps)}")
        name = maps[plate]
        if name not in read:
            read[name] = _read_platemap(folder, name)
        facts.append(read[name].get(normalise_well(well), {}))
    names = dict.fromkeys(column for fact in facts for column in fact)
    columns = dict(zip(fields.table.column_names, fields.table.columns, strict=True))
    for name in names:
        if name not in ("well_position", "plate_map_name"):
            columns.setdefault(f"Metadata_{name}", pa.array([fact.get(name, "") for fact in facts]))
    return fields._replace(table=pa.table(columns))


def begin_project(
    root: Path,
    fields: Fields,
    *,
    label_field: str | None = None,
    control_value: str | None = None,
    box_size: int = 128,
) -> Project:
    """Writes a project: index, outlines and a configuration, each whole or not at all.

    Args:
      root: Folder of the project to be.
      fields: From a reader.
      label_field: Column of the treatments.
      control_value: Treatment of the controls.
      box_size: Side of the single cells, px.

    Returns:
      The project.

    Raises:
      UserError: There is a project already, or no such label field.
    """
    if (root / METADATA / "index.csv").exists():
        raise UserError(f"{root}: there is a project already; choose another folder")
    if label_field is not None and label_field not in fields.table.column_names:
        close = suggestion(label_field, fields.table.column_names)
        raise UserError(f"no column {label_field!r} for the treatments{close}")
    labels = {"label_field": label_field, "control_value": control_value}
    config = {
        "dataset": {
            "metadata": {key: value for key, value in labels.items() if value is not None},
            "images": {"channels": list(fields.channels)},
            "locations": {"mode": "single_cells", "box_size": box_size, "mask_objects": False},
        },
        "prepare": {
            "illumination_correction": {"down_scale_factor": 4, "median_filter_size": 24},
            "compression": {"implement": True, "scaling_factor": 1.0},
        },
    }
    write_json(root / CONFIG / "config.json", config)
    table = fields.table
    if fields.outlines is not None:
        write_csv(root / METADATA / "outlines.csv", table.select([*INDEX_KEYS, fields.outlines]))
        table = table.drop_columns([fields.outlines])
    write_csv(root / METADATA / "index.csv", table)
    return open_project(root, config="config.json")


def import_locations(project: Project, folder: Path) -> int:
    """Copies what `cellml segment --locations` wrote to where the project looks for it.

    Args:
      project: A project.
      folder: Output folder of `cellml segment`; locations are found by plate, well and site, or by
        the name of one of the field's images.

    Returns:
      How many fields got locations.
    """
    count = 0
    for row in range(len(project)):
        plate, well, site = project.key(row)
        stems = [image_stem(project.image_path(row, channel)) for channel in project.channels]
        named = [folder / "locations" / plate / f"{well}-{site}-Nuclei.csv"]
        named += [folder / "locations" / f"{stem}-Nuclei.csv" for stem in stems]
        source = next((path for path in named if path.is_file()), None)
        if source is not None:
            target = project.root / LOCATIONS / plate / f"{well}-{site}-Nuclei.csv"
            with atomic(target) as temporary:
                shutil.copyfile(source, temporary)
            count += 1
    return count


def _column(table: pa.Table, name: str) -> list[str] | None:
    return table[name].to_pylist() if name in table.column_names else None


def _load_data_keys(path: Path, table: pa.Table) -> dict[str, Any]:
    plates = _column(table, "Metadata_Plate")
    if plates is None:
        close = suggestion("Metadata_Plate", table.column_names)
        raise UserError(f"{path}: no column 'Metadata_Plate'{close}")
    sites = next((s for s in (_column(table, name) for name in SITE_COLUMNS) if s), None)
    if sites is None:
        raise UserError(f"{path}: no column of sites ({', '.join(SITE_COLUMNS)} looked for)")
    wells = _column(table, "Metadata_Well")
    pairs = [(_column(table, a), _column(table, b)) for a, b in ROW_COLUMNS]
    rows, places = next(((a, b) for a, b in pairs if a and b), (None, None))
    normal: list[str] = []
    for line in range(len(table)):
        try:
            if wells is not None:
                normal.append(normalise_well(wells[line]))
            elif rows is not None and places is not None:
                normal.append(well_name(int(rows[line]) - 1, int(places[line]) - 1))
            else:
                raise UserError(f"{path}: no column 'Metadata_Well', nor Metadata_Row and _Col")
        except ValueError as error:
            raise UserError(f"{path}, line {line_of(line)}: {error}") from error
    return dict(zip(INDEX_KEYS, (plates, normal, sites), strict=True))


def _load_data_paths(
    path: Path, table: pa.Table, name: str, kind: str, images: Path | None
) -> list[str]:
    prefix = "Image_" if f"Image_{kind}_{name}" in table.column_names else ""
    files = table[f"{prefix}{kind}_{name}"].to_pylist()
    folders = _column(table, f"{prefix}PathName_{name}") or [""] * len(files)
    if kind == "URL":
        split = [urlparse(file) for file in files]
        if images is None and any(part.scheme not in ("", "file") for part in split):
            raise UserError(f"{path}: {files[0]} is no local file; say in which folder it lies")
        whole = [Path(unquote(part.path)) for part in split]
        folders, files = [str(p.parent) for p in whole], [p.name for p in whole]
    if "" in files:
        raise UserError(f"{path}, line {line_of(files.index(''))}: no file of channel {name!r}")
    base = path.resolve().parent
    return [
        str((images.resolve() if images else base / folder) / file)
        for folder, file in zip(folders, files, strict=True)
    ]


def _image_name(path: Path) -> tuple[str, str, str, str] | None:
    stem = image_stem(path)
    if match := XPRESS_CHANNEL.fullmatch(stem):
        return match["plate"], normalise_well(match["well"]), match["site"], match["channel"]
    field, channel = OPERA_PHENIX.fullmatch(stem), PHENIX_CHANNEL.match(stem)
    if field is None or channel is None:
        return None
    folder = path.resolve().parent
    plate = folder.parent.name if folder.name.lower() == "images" else folder.name
    well = well_name(int(field["row"]) - 1, int(field["column"]) - 1)
    return plate, well, str(int(field["site"])), channel["channel"]


def _read_platemap(folder: Path, name: str) -> dict[str, dict[str, str]]:
    files = [folder / f"{name}{ending}" for ending in (".txt", ".csv", ".tsv")]
    path = next((file for file in files if file.is_file()), None)
    if path is None:
        raise UserError(f"{files[0]}: no such plate map (.csv and .tsv looked for as well)")
    wells: dict[str, dict[str, str]] = {}
    for row, line in enumerate(read_text_table(path, required=["well_position"]).to_pylist()):
        try:
            wells[normalise_well(line["well_position"])] = line
        except ValueError as error:
            raise UserError(f"{path}, line {line_of(row)}: {error}") from error
    return wells
