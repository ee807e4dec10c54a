"""What `cellml profile report` shows of quality.csv and plates.csv, which `aggregate` wrote."""

from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from cellml.commands.profile_fields import KEY_COLUMNS, TREATMENT
from cellml.commands.profile_quality import PLATE_COLUMNS, PLATES, QUALITY, QUALITY_COLUMNS
from cellml.data.painting_files import read_grey
from cellml.data.profile_files import COUNT
from cellml.data.text_tables import line_of, read_text_table
from cellml.errors import UserError
from cellml.report.profiling_quality import FieldToView, QualityControl, by_well

PICTURES = 4


def read_quality(name: str, profiles: Path, project: Path) -> QualityControl | None:
    """Reads what quality control found, and the images of the wells that lie farthest.

    Args:
      name: Of the set of features.
      profiles: Folder of its tables.
      project: Folder that paths of images begin at.

    Returns:
      None where there is no quality.csv. Images that cannot be read are not shown.

    Raises:
      UserError: A table is damaged; the message names the line.
    """
    path = profiles / QUALITY
    if not path.is_file():
        return None
    table = read_text_table(path, required=QUALITY_COLUMNS)
    channels = tuple(c for c in table.column_names if c not in QUALITY_COLUMNS)
    fields = [_field(path, row, line, channels) for row, line in enumerate(table.to_pylist())]
    plates = []
    if (profiles / PLATES).is_file():
        counts = read_text_table(profiles / PLATES, required=PLATE_COLUMNS)
        plates = list(zip(*(counts[c].to_pylist() for c in PLATE_COLUMNS), strict=True))
    return QualityControl(name, fields, plates, channels, _pictures(fields, project))


def _field(path: Path, row: int, line: dict[str, str], channels: tuple[str, ...]) -> FieldToView:
    def number(column: str) -> float:
        try:
            return float(line[column])
        except ValueError:
            raise UserError(
                f"{path}, line {line_of(row)}: {column} must be a number, found {line[column]!r}"
            ) from None

    plate, well, site = (line[column] for column in KEY_COLUMNS)
    return FieldToView(
        plate,
        well,
        site,
        line[TREATMENT],
        line[COUNT],
        number("distance"),
        number("limit"),
        line["reason"],
        tuple(line[channel] for channel in channels),
    )


def _pictures(
    fields: list[FieldToView], project: Path
) -> list[tuple[str, Shaped[np.ndarray, "h w c"]]]:
    """A field of each of the farthest wells, those without a distance last."""
    found = []
    for field, *_ in by_well(sorted(fields, key=lambda f: bool(np.isinf(f.distance)))).values():
        if len(found) == PICTURES:
            break
        image = _image([project / path for path in field.images if path])
        if image is not None:
            title = f"{field.plate} {field.well}" + (f" site {field.site}" if field.site else "")
            far = "no distance" if np.isinf(field.distance) else f"distance {field.distance:.2f}"
            found.append((f"{title}: {far}", image))
    return found


def _image(paths: list[Path]) -> Shaped[np.ndarray, "h w c"] | None:
    """All channels of a field; None if one cannot be read or is of another size."""
    try:
        planes = [read_grey(path) for path in paths if path.is_file()]
    except (UserError, OSError, ValueError):
        return None
    if not planes or len(planes) < len(paths) or len({plane.shape for plane in planes}) > 1:
        return None
    return np.stack(planes, axis=-1)
