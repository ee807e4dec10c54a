"""Reads a DeepProfiler project as it lies on disk.

    inputs/config/*.json                      see `cellml.data.painting_config`
    inputs/metadata/index.csv                 Metadata_Plate, _Well, _Site, one path a channel, ...
    inputs/metadata/outlines.csv              optional: the same three keys and Outlines
    inputs/images/...                         paths of the index start here
    inputs/locations/<Plate>/<Well>-<Site>-Nuclei.csv
    inputs/outlines/...
    outputs/compressed/images/<Plate>/*.png   what `prepare` makes

Plates, wells and sites are strings; wells are normalised (`f3` -> `F03`). The size of the images
is read from the files.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float, Int, Shaped

from cellml.data.painting_config import check_config, read_config
from cellml.data.painting_files import read_grey, read_locations, read_outlines
from cellml.data.text_tables import line_of, read_text_table, suggestion
from cellml.data.wells import normalise_well
from cellml.errors import UserError

KEYS = ("plate", "well", "site")
INDEX_KEYS = ("Metadata_Plate", "Metadata_Well", "Metadata_Site")
IMAGES = Path("inputs", "images")
LOCATIONS = Path("inputs", "locations")
METADATA = Path("inputs", "metadata")
OUTLINES = Path("inputs", "outlines")
CONFIG = Path("inputs", "config")
COMPRESSED = Path("outputs", "compressed", "images")
INTENSITIES = Path("outputs", "intensities")


@dataclass(frozen=True)
class Project:
    """A project; one row of `index` is one field of view, counted from 0.

    Attributes:
      root: Its folder.
      config: The configuration as it was read, nested.
      config_file: Where from.
      channels: Names of the channels, in the order of the configuration.
      index: Strings: plate, well, site, treatment (the label field; null without one),
        well_as_given, one path a channel under the channel's name, and every further column.
      prepared: Whether images are those that `prepare` made.
      outline_files: Outline image of a (plate, well, site).
    """

    root: Path
    config: Mapping[str, Any]
    config_file: Path
    channels: tuple[str, ...]
    index: pa.Table
    prepared: bool = False
    outline_files: Mapping[tuple[str, str, str], str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.index)

    def settings(self, command: str) -> dict[str, Any]:
        """Returns the values of a command's schema, see `painting_config.check_config`."""
        return check_config(self.config, command, source=self.config_file)

    def with_images(self, *, prepared: bool) -> "Project":
        """Returns the same project with the images that `prepare` made, or the original ones."""
        return replace(self, prepared=prepared)

    @property
    def metadata_columns(self) -> tuple[str, ...]:
        """Columns of the index beyond keys, treatment and image paths."""
        own = {*KEYS, "treatment", "well_as_given", *self.channels}
        return tuple(name for name in self.index.column_names if name not in own)

    @property
    def plates(self) -> tuple[str, ...]:
        """Names of the plates, sorted."""
        return tuple(sorted(set(self.index["plate"].to_pylist())))

    def plate_rows(self, plate: str) -> list[int]:
        """Rows of one plate, in the order of the index."""
        return [row for row, name in enumerate(self.index["plate"].to_pylist()) if name == plate]

    def key(self, row: int) -> tuple[str, str, str]:
        """Plate, well and site of a field."""
        plate, well, site = (self.index[name][row].as_py() for name in KEYS)
        return plate, well, site

    def column(self, name: str) -> list[str | None]:
        """Values of a column by the name that index.csv has for it, Metadata_Plate included.

        Raises:
          UserError: There is no such column.
        """
        ours = KEYS[INDEX_KEYS.index(name)] if name in INDEX_KEYS else name
        if ours not in self.index.column_names:
            close = suggestion(name, [*INDEX_KEYS, *self.index.column_names])
            raise UserError(f"{self.root}: no column {name!r} in the index{close}")
        return self.index[ours].to_pylist()

    @property
    def control_values(self) -> tuple[str, ...]:
        """Treatments that are controls, as the configuration has them; none, if it has none."""
        value = self.settings("read")["dataset.metadata.control_value"]
        values = value if isinstance(value, list) else [] if value is None else [value]
        return tuple(map(str, values))

    def controls(self) -> Bool[np.ndarray, " n"]:
        """Which fields are controls: those whose treatment is one of `control_values`."""
        wanted = set(self.control_values)
        found = [name in wanted for name in self.index["treatment"].to_pylist()]
        return np.asarray(found, bool)

    def image_path(self, row: int, channel: str) -> Path:
        """Where one channel of a field lies."""
        given = Path(self.index[channel][row].as_py())
        if self.prepared:
            return self.root / COMPRESSED / self.key(row)[0] / f"{given.stem}.png"
        return self.root / IMAGES / given

    def image(self, row: int) -> Shaped[np.ndarray, "h w c"]:
        """Reads a field of view, channels in the order of `channels`, in the files' dtype.

        Raises:
          UserError: A file is missing, damaged or not grey, or channels differ in size or dtype.
        """
        planes: list[np.ndarray] = []
        first: Path | None = None
        for channel in self.channels:
            path = self.image_path(row, channel)
            if not path.is_file():
                raise UserError(f"{path}: no such image{self._where(row, channel)}")
            plane = read_grey(path)
            if first is None:
                first = path
            elif (plane.shape, plane.dtype) != (planes[0].shape, planes[0].dtype):
                raise UserError(
                    f"{path}: {plane.shape[0]} x {plane.shape[1]} px of {plane.dtype} found, "
                    f"{planes[0].shape[0]} x {planes[0].shape[1]} px of {planes[0].dtype} "
                    f"expected as in {first.name}{self._where(row, channel)}"
                )
            planes.append(plane)
        return np.stack(planes, axis=-1)

    def field_files(self, row: int, *, outlines: bool) -> list[Path]:
        """All files that decide the cells of a field, with its outlines if asked for."""
        files = [self.image_path(row, channel) for channel in self.channels]
        files.append(self.locations_file(row))
        name = self.outline_files.get(self.key(row)) if outlines else None
        return files if name is None else [*files, self.root / OUTLINES / name]

    def locations_file(self, row: int) -> Path:
        """Where the nuclei of a field are, whether or not the file is there."""
        plate, well, site = self.key(row)
        folder = self.root / LOCATIONS / plate
        given = folder / f"{self.index['well_as_given'][row].as_py()}-{site}-Nuclei.csv"
        return given if given.is_file() else folder / f"{well}-{site}-Nuclei.csv"

    def locations(self, row: int) -> Float[np.ndarray, "n 2"]:
        """Reads the centres of a field's nuclei.

        Returns:
          float32 (y, x) in pixels of the images of this project.

        Raises:
          UserError: No such file, no such columns, or no finite numbers in it.
        """
        path = self.locations_file(row)
        if not path.is_file():
            raise UserError(
                f"{path}: no locations{self._where(row)}; `cellml segment --locations` makes them"
            )
        centres = read_locations(path)
        if self.prepared:
            centres = centres * self._scale(self.key(row)[0])
        return centres

    def outlines(self, row: int) -> Int[np.ndarray, "h w"] | None:
        """Reads a field's objects as labels, see `read_outlines`; None where it has no outlines."""
        name = self.outline_files.get(self.key(row))
        if name is None:
            return None
        labels = read_outlines(self.root / OUTLINES / name)
        if self.prepared:
            scale = self._scale(self.key(row)[0])
            y, x = (
                np.minimum(((np.arange(round(n * s)) + 0.5) / s).astype(int), n - 1)
                for n, s in zip(labels.shape, scale.astype(float), strict=True)
            )
            labels = labels[np.ix_(y, x)]
        return labels

    def _scale(self, plate: str) -> Float[np.ndarray, "2"]:
        """Size of the prepared images of a plate over that of the original ones."""
        if self.settings("prepare")["prepare.compression.scaling_factor"] == 1:
            return np.ones(2, np.float32)
        with np.load(self.root / INTENSITIES / plate / f"{plate}.npz") as facts:
            return (facts["prepared_shape"] / facts["original_shape"]).astype(np.float32)

    def _where(self, row: int, channel: str | None = None) -> str:
        plate, well, site = self.key(row)
        of = f", channel {channel}" if channel else ""
        return f" (row {row} of the index: plate {plate}, well {well}, site {site}{of})"


def open_project(
    root: str | Path,
    *,
    config: str | None = None,
    index: str = "index.csv",
    prepared: bool = False,
) -> Project:
    """Opens a DeepProfiler project; reads its tables and no image.

    Args:
      root: Folder that holds `inputs`.
      config: File in `inputs/config`; may be left out where there is only one.
      index: File in `inputs/metadata`.
      prepared: Read the images that `prepare` made.

    Returns:
      The project.

    Raises:
      UserError: A file or column is missing, a key is wrong, a well is none, a field occurs twice.
    """
    root = Path(root)
    if not (root / "inputs").is_dir():
        raise UserError(f"{root}: no project, a folder with 'inputs' expected")
    config_file = _find_config(root / CONFIG, config)
    read = read_config(config_file)
    settings = check_config(read, "read", source=config_file)
    channels = tuple(settings["dataset.images.channels"])
    table = read_index(root / METADATA / index, channels, settings["dataset.metadata.label_field"])
    outlines = root / METADATA / "outlines.csv"
    return Project(
        root=root,
        config=read,
        config_file=config_file,
        channels=channels,
        index=table,
        prepared=prepared,
        outline_files=_read_outline_files(outlines) if outlines.is_file() else {},
    )


def read_index(path: Path, channels: tuple[str, ...], label_field: str | None) -> pa.Table:
    """Reads the table of fields.

    Args:
      path: CSV with Metadata_Plate, Metadata_Well, Metadata_Site and the columns below.
      channels: Columns of image paths.
      label_field: Column of treatments, if there is one.

    Returns:
      `Project.index`.

    Raises:
      UserError: As in `open_project`.
    """
    labels = () if label_field is None else (label_field,)
    table = read_text_table(path, required=[*INDEX_KEYS, *channels, *labels])
    keys = field_keys(path, table)
    for channel in channels:
        for row, value in enumerate(table[channel].to_pylist()):
            if not value:
                raise UserError(f"{path}, line {line_of(row)}: no image of channel {channel!r}")
    treatment = table[label_field] if label_field else pa.nulls(len(table), pa.string())
    columns: dict[str, Any] = {name: pa.array(keys[name], pa.string()) for name in KEYS}
    columns |= {"treatment": treatment, "well_as_given": table["Metadata_Well"]}
    for name in table.column_names:
        if name in INDEX_KEYS or (name == label_field == "treatment"):
            continue
        columns[f"{name}_as_given" if name in columns else name] = table[name]
    return pa.table(columns)


def _find_config(folder: Path, name: str | None) -> Path:
    if name is not None:
        return folder / name
    found = sorted(folder.glob("*.json"))
    if len(found) != 1:
        listed = ", ".join(path.name for path in found) or "none"
        raise UserError(f"{folder}: one configuration (*.json) expected, {listed} found; name one")
    return found[0]


def field_keys(path: Path, table: pa.Table) -> dict[str, list[str]]:
    """Plate, normalised well and site of a table that has a line a field.

    Args:
      path: The table, for messages.
      table: Has the columns `INDEX_KEYS`, as texts.

    Returns:
      Values by `KEYS`.

    Raises:
      UserError: A value is missing, a well is none, or a field is on two lines.
    """
    keys = _keys(path, table)
    seen: dict[tuple[str, str, str], int] = {}
    for row, key in enumerate(zip(*keys.values(), strict=True)):
        earlier = seen.setdefault(key, row)
        if earlier != row:
            raise UserError(
                f"{path}, line {line_of(row)}: plate {key[0]}, well {key[1]}, site {key[2]} is "
                f"also on line {line_of(earlier)}; one line a field expected"
            )
    return keys


def _keys(path: Path, table: pa.Table) -> dict[str, list[str]]:
    keys = {ours: table[name].to_pylist() for ours, name in zip(KEYS, INDEX_KEYS, strict=True)}
    for name, values in keys.items():
        if "" in values:
            raise UserError(f"{path}, line {line_of(values.index(''))}: no {name}")
    wells = []
    for row, well in enumerate(keys["well"]):
        try:
            wells.append(normalise_well(well))
        except ValueError as error:
            raise UserError(f"{path}, line {line_of(row)}: {error}") from error
    return keys | {"well": wells}


def _read_outline_files(path: Path) -> dict[tuple[str, str, str], str]:
    table = read_text_table(path, required=[*INDEX_KEYS, "Outlines"])
    keys = zip(*_keys(path, table).values(), strict=True)
    return {
        (plate, well, site): name
        for (plate, well, site), name in zip(keys, table["Outlines"].to_pylist(), strict=True)
        if name
    }
