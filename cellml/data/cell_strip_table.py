"""DeepProfiler's sc-metadata.csv in little memory: its lines as columns of numbers.

A cell costs its file's name and some thirty bytes, a field of view a few Python objects.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int, Shaped

from cellml.data.coded_columns import Coded, code_column
from cellml.data.crops import Status
from cellml.data.painting_files import file_states
from cellml.data.text_tables import line_of, suggestion, text_blocks
from cellml.data.wells import normalise_well
from cellml.errors import UserError

TABLE = "sc-metadata.csv"
X, Y = "Nuclei_Location_Center_X", "Nuclei_Location_Center_Y"
STATUS = "Status"

FieldKey = tuple[str, str, str]


@dataclass
class StripTable:
    """The lines of a table, one a cell.

    Attributes:
      folder: Where the strips lie.
      fields: Plate, well (normalised) and site of every field, in order of appearance.
      field_of: Field of every cell.
      names: File of every cell, below `folder`.
      centre_yx: Pixels.
      status: A `crops.Status` each.
      label: Treatment of every cell.
      metadata: Further columns, those that are the same for all cells of every field.
    """

    folder: Path
    fields: list[FieldKey]
    field_of: Int[np.ndarray, " n"]
    names: pa.ChunkedArray
    centre_yx: Float[np.ndarray, "n 2"]
    status: Shaped[np.ndarray, " n"]
    label: Coded
    metadata: dict[str, Coded] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.field_of)

    def by_plate(self) -> dict[str, list[tuple[FieldKey, Int[np.ndarray, " m"]]]]:
        """Fields of every plate with the rows of their cells; plates are sorted."""
        order = np.argsort(self.field_of, kind="stable")
        starts = np.searchsorted(self.field_of[order], np.arange(1, len(self.fields)))
        rows = np.split(order, starts) if self.fields else []
        plates: dict[str, list[tuple[FieldKey, Int[np.ndarray, " m"]]]] = defaultdict(list)
        for key, own in zip(self.fields, rows, strict=True):
            plates[key[0]].append((key, own))
        return {plate: plates[plate] for plate in sorted(plates)}

    def paths(self, rows: Int[np.ndarray, " m"]) -> list[Path]:
        """Files of some cells."""
        return [self.folder / name for name in self.names.take(pa.array(rows)).to_pylist()]

    def texts(self, row: int) -> dict[str, str]:
        """Further columns of the field that a cell belongs to."""
        return {name: _text(column, row) for name, column in self.metadata.items()}

    def treatment(self, row: int) -> str:
        """Treatment of a cell."""
        return _text(self.label, row)

    def fingerprint(self, rows: Int[np.ndarray, " m"]) -> str:
        """A text that changes when the lines or the files of some cells do."""
        facts = [
            file_states(self.paths(rows)),
            self.names.take(pa.array(rows)).to_pylist(),
            self.centre_yx[rows].tolist(),
            self.status[rows].tolist(),
            [self.treatment(row) for row in rows.tolist()],
            self.texts(int(rows[0])),
        ]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def read_strip_table(folder: Path, *, label_field: str) -> StripTable:
    """Reads sc-metadata.csv, a block of lines at a time.

    Args:
      folder: Holds it, and the strips.
      label_field: Column of the treatments.

    Returns:
      Its lines. All cells have status OK unless there is a column Status.

    Raises:
      UserError: It is missing or no such table, a name is no field's, or a number is none.
    """
    path = folder / TABLE
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    required = ["Key", "Image_Name", X, Y, label_field]
    numbers: dict[FieldKey, int] = {}
    parts: dict[str, list[np.ndarray]] = defaultdict(list)
    names: list[pa.Array] = []
    texts: dict[str, list[pa.Array]] = {}
    first = 0
    for block in text_blocks(path):
        if not texts:
            for name in required:
                if name not in block.column_names:
                    raise UserError(
                        f"{path}: no column {name!r}{suggestion(name, block.column_names)}"
                    )
            own = {"Key", "Image_Name", "Target", STATUS, X, Y}
            texts = {name: [] for name in block.column_names if name not in own}
        keys = _fields_of(path, block["Image_Name"].to_pylist(), first, numbers)
        parts["field"].append(keys)
        parts["y"].append(_floats(path, block, Y, first))
        parts["x"].append(_floats(path, block, X, first))
        parts["status"].append(_status(path, block, first))
        names += block["Image_Name"].chunks
        for name, column in texts.items():
            column += block[name].dictionary_encode().chunks
        first += len(block)
    dictionary = pa.dictionary(pa.int32(), pa.string())
    coded = {
        name: code_column(pa.chunked_array(chunks, type=dictionary))
        for name, chunks in texts.items()
    }
    whole = {name: np.concatenate(arrays) for name, arrays in parts.items()}
    label = coded.pop(label_field)
    return StripTable(
        folder=folder,
        fields=list(numbers),
        field_of=whole["field"],
        names=pa.chunked_array(names, type=pa.string()),
        centre_yx=np.stack([whole["y"], whole["x"]], axis=1),
        status=whole["status"],
        label=label,
        metadata={name: c for name, c in coded.items() if _says_of_fields(c, whole["field"])},
    )


def _fields_of(
    path: Path, names: Sequence[str], first: int, numbers: dict[FieldKey, int]
) -> Int[np.ndarray, " n"]:
    found = np.empty(len(names), np.int32)
    for row, name in enumerate(names):
        parts = name.split("/")  # Key has lost a plate's dashes in DeepProfiler
        try:
            plate, well, site, _ = parts
            key = plate, normalise_well(well), site
        except ValueError as error:
            raise UserError(
                f"{path}, line {line_of(first + row)}: Image_Name is {name!r}, "
                "<plate>/<well>/<site>/<name>.png expected"
            ) from error
        found[row] = numbers.setdefault(key, len(numbers))
    return found


def _floats(path: Path, block: pa.Table, column: str, first: int) -> Float[np.ndarray, " n"]:
    found = np.empty(len(block), np.float32)
    for row, text in enumerate(block[column].to_pylist()):
        try:
            found[row] = float(text)
        except ValueError as error:
            raise UserError(
                f"{path}, line {line_of(first + row)}: {column} is {text!r}, pixels expected"
            ) from error
    return found


def _status(path: Path, block: pa.Table, first: int) -> Shaped[np.ndarray, " n"]:
    found = np.full(len(block), Status.OK, np.uint8)
    if STATUS not in block.column_names:
        return found
    known = {str(int(status)): int(status) for status in Status}
    for row, text in enumerate(block[STATUS].to_pylist()):
        if text not in known:
            raise UserError(
                f"{path}, line {line_of(first + row)}: {STATUS} is {text!r}, one of "
                f"{', '.join(known)} expected"
            )
        found[row] = known[text]
    return found


def _says_of_fields(column: Coded, field_of: Int[np.ndarray, " n"]) -> bool:
    """Whether a column is the same for all cells of every field."""
    order = np.argsort(field_of, kind="stable")
    same_field = np.diff(field_of[order]) == 0
    return not (same_field & (np.diff(column.codes[order]) != 0)).any()


def _text(column: Coded, row: int) -> str:
    return column.names[column.codes[row]] if column.codes[row] >= 0 else ""
