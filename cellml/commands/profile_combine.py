"""Screens as `cellml profile aggregate` leaves them, for a combined training set."""

from pathlib import Path

import pyarrow.parquet as pq

from cellml.commands.profile_fields import TREATMENT
from cellml.data.profile_files import COUNT
from cellml.data.text_tables import read_text_table, suggestion
from cellml.errors import UserError
from cellml.profiling.combine import Screen

WILD_TYPE = ("1", "true", "wt", "wild type", "wild-type", "yes")
"""What says in a column that a gene is the wild type, in capitals or not."""


def read_screen(
    folder: Path,
    *,
    kind: str,
    strength: str = "strength_sum",
    moa_column: str = "Metadata_moa",
    wild_type_column: str | None = None,
) -> Screen:
    """Reads strengths, cell counts and mechanisms of a screen's treatments, without its controls.

    Args:
      folder: What `cellml profile aggregate` wrote: strengths.csv and treatment.parquet.
      kind: "compound" or "gene", decides the class of the controls.
      strength: "strength_sum", as the dissertation ranks by, or "strength_mean".
      moa_column: Of treatment.parquet; treatments have no mechanism where there is no such column.
      wild_type_column: Likewise; says which genes are the wild type.

    Returns:
      The screen, for `cellml.profiling.combine_screens`.

    Raises:
      UserError: A file is missing or has no such column.
    """
    strengths = read_text_table(folder / "strengths.csv", required=(TREATMENT, strength))
    path = folder / "treatment.parquet"
    if not path.is_file():
        raise UserError(f"{path}: no such file; `cellml profile aggregate` writes it")
    known = pq.read_schema(path).names
    columns = [TREATMENT, COUNT, *(c for c in (moa_column, wild_type_column) if c in known)]
    if wild_type_column is not None and wild_type_column not in known:
        closest = suggestion(wild_type_column, known)
        raise UserError(f"{path}: no column {wild_type_column!r}{closest}")
    table = pq.read_table(path, columns=columns).to_pylist()
    facts = {row[TREATMENT]: row for row in table}
    names, numbers = (strengths[name].to_pylist() for name in (TREATMENT, strength))
    if missing := [name for name in names if name not in facts]:
        raise UserError(f"{path}: no treatment {missing[0]!r}, which strengths.csv has")
    wild_type = None
    if wild_type_column is not None:
        texts = [str(facts[name][wild_type_column] or "").casefold() for name in names]
        wild_type = [text in WILD_TYPE for text in texts]
    return Screen(
        treatments=names,
        strength=[float(text) if text else float("nan") for text in numbers],
        cells=[int(facts[name][COUNT]) for name in names],
        moa=[facts[name].get(moa_column) or "" for name in names],
        kind=kind,
        wild_type=wild_type,
    )
