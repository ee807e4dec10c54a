"""What trained models say of the compounds that they have not seen: gathered, and scored."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from cellml.commands.activity_inputs import FOLD, PARTS
from cellml.data.assay_tables import AssayTable
from cellml.data.prediction_tables import ROW, write_predictions
from cellml.data.split_files import CompoundSplit
from cellml.errors import UsageError

PREDICTIONS, VALIDATION, SPLIT = "predictions.csv", "validation.csv", "split.csv"
PART, RUN = "part", "run"
"""Columns: the part of a compound in a training; the run, named as the fold that it holds out."""
VALIDATES, TESTS = PARTS[1:]


def gather_predictions(
    out: Path,
    folders: Mapping[str, str],
    *,
    predictions: Path | None = None,
    validation: Path | None = None,
) -> Path:
    """Puts predictions of several trainings together: held-out compounds, validation compounds.

    The former have a column `fold`, the latter a column `run`; `row`, of the table of compounds
    from 0, tells equal SMILES apart, and gives the order.

    Args:
      out: Folder of the trainings.
      folders: Below `out`, of a training each, and the name of the fold that it holds out.
      predictions: File to write; predictions.csv in `out`, if None.
      validation: Likewise validation.csv.

    Returns:
      Path of the predictions of held-out compounds.
    """
    predictions, validation = predictions or out / PREDICTIONS, validation or out / VALIDATION
    text = pacsv.ConvertOptions(
        strings_can_be_null=True, column_types={"smiles": pa.string(), PART: pa.string()}
    )
    found = {
        name: pacsv.read_csv(out / folder / PREDICTIONS, convert_options=text)
        for folder, name in folders.items()
    }
    for path, kind, column in ((predictions, TESTS, FOLD), (validation, VALIDATES, RUN)):
        tables = []
        for name, table in found.items():
            mine = table.filter(pa.array([part == kind for part in table[PART].to_pylist()]))
            names = pa.array([name] * len(mine), pa.string())
            tables.append(mine.drop_columns([PART]).append_column(column, names))
        joined = pa.concat_tables(tables, promote_options="permissive")
        if not len(joined) and kind == VALIDATES:
            path.unlink(missing_ok=True)  # of a run that was here before
            continue
        joined = joined.take(pa.array(np.argsort(joined[ROW].to_numpy(), kind="stable")))
        assays = [n for n in joined.column_names if n not in ("smiles", ROW, column)]
        values = np.stack([joined[n].to_numpy().astype(np.float64) for n in assays], axis=1)
        smiles, others = joined["smiles"].to_pylist(), joined.select([column, ROW])
        write_predictions(path, smiles, values, assays, others)
    return predictions


def read_parts(folder: Path, table: AssayTable) -> CompoundSplit:
    """What a training wrote down in split.csv.

    Args:
      folder: Of the training.
      table: That it was trained on.

    Returns:
      Its parts.

    Raises:
      UsageError: The file is of another table.
    """
    found = pacsv.read_csv(folder / SPLIT)[PART].to_pylist()
    if len(found) != len(table.smiles):
        raise UsageError(f"{folder}: {SPLIT} is of another table; use another --out")
    parts = np.array([part or "" for part in found])
    return CompoundSplit(*(np.flatnonzero(parts == name) for name in PARTS))
