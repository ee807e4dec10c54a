"""Scores per predictor and assay in files: our own `assays.csv`, and those of the study."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from cellml.data.text_tables import line_of, read_text_table, suggestion
from cellml.errors import UserError

PREDICTOR = ("predictor", "descriptor")
ASSAY = ("assay", "assay_id", "PUMA_ASSAY_ID")
TYPE = ("type", "assay_type", "ASSAY_TYPE")
PUBLISHED = {"auc": "auroc", "EF1%": "ef1", "EF5%": "ef5", "EF10%": "ef10"}
"""Scores of the study's files by our names; its flags auc_50 ... follow from them."""
FLAGS = ("auc_50", "auc_70", "auc_90")
NOTHING = ("", "NA", "nan", "NaN")


@dataclass(frozen=True)
class ScoreTable:
    """Scores of predictors.

    Attributes:
      assays: Their names, the same for all predictors.
      scores: By predictor and name of the score, one number an assay; NaN is undefined.
      types: Of each assay; empty if the files do not say.
    """

    assays: tuple[str, ...]
    scores: Mapping[str, Mapping[str, Float[np.ndarray, " t"]]]
    types: tuple[str, ...] = ()


def read_score_tables(paths: Sequence[Path]) -> ScoreTable:
    """Reads and joins files with a line per predictor and assay.

    Args:
      paths: CSV with a column `predictor` (or `descriptor`), `assay` (or `assay_id`), and scores:
        numbers, nothing where undefined; `auc` and `EF1%` of the study are read as `auroc`, `ef1`.

    Returns:
      All scores. An assay that a predictor has no line for is undefined.

    Raises:
      UserError: A file cannot be read, has no such columns, names a pair twice, or a value is no
        number.
    """
    assays: dict[str, str] = {}
    found: dict[str, dict[str, dict[str, float]]] = {}
    for path in paths:
        table = read_text_table(path)
        predictor, assay = (
            _column(path, table.column_names, names) for names in (PREDICTOR, ASSAY)
        )
        kind = next((name for name in TYPE if name in table.column_names), None)
        for name in dict.fromkeys(table[predictor].to_pylist()):
            found.setdefault(name, {})
        names, kinds = table[assay].to_pylist(), table[kind].to_pylist() if kind else None
        for row, name in enumerate(names):
            assays[name] = assays.get(name) or (kinds[row] if kinds else "")
        skipped = {predictor, assay, kind, *FLAGS}
        for column in table.column_names:
            if column not in skipped:
                _add(path, column, table[predictor].to_pylist(), names, table[column], found)
    scores = {
        predictor: {
            score: np.array([values.get(assay, np.nan) for assay in assays])
            for score, values in by_score.items()
        }
        for predictor, by_score in found.items()
    }
    types = tuple(assays.values()) if all(assays.values()) else ()
    return ScoreTable(tuple(assays), scores, types)


def read_assay_types(
    path: Path,
    assays: Sequence[str],
    *,
    assay_column: str | None = None,
    type_column: str | None = None,
) -> tuple[str, ...]:
    """Reads the type of each assay, as "cell" or "bacterial".

    Args:
      path: A table with a line an assay.
      assays: Assays that must be there.
      assay_column: Their names; one of `ASSAY`, if None.
      type_column: Their types; one of `TYPE`, if None.

    Returns:
      Types in the order of `assays`.

    Raises:
      UserError: The file cannot be read, or a column or an assay is missing.
    """
    table = read_text_table(path)
    assay = _column(path, table.column_names, [assay_column] if assay_column else ASSAY)
    kind = _column(path, table.column_names, [type_column] if type_column else TYPE)
    types = dict(zip(table[assay].to_pylist(), table[kind].to_pylist(), strict=True))
    for name in assays:
        if not types.get(name):
            missing = sum(not types.get(other) for other in assays)
            raise UserError(
                f"{path}: no {kind} of assay {name!r}{suggestion(name, types)}; {missing} of "
                f"{len(assays)} assays are missing"
            )
    return tuple(types[name] for name in assays)


def _column(path: Path, there: Sequence[str], wanted: Sequence[str]) -> str:
    for name in wanted:
        if name in there:
            return name
    raise UserError(f"{path}: no column {wanted[0]!r}{suggestion(wanted[0], there)}")


def _add(path, column, predictors, assays, values, found) -> None:
    """Adds a column of scores; what holds no number at all is no score."""
    texts = values.to_pylist()
    numbers = [_number(text) for text in texts]
    if all(number is None or text in NOTHING for number, text in zip(numbers, texts, strict=True)):
        return
    score = PUBLISHED.get(column, column)
    for row, number in enumerate(numbers):
        if number is None:
            raise UserError(
                f"{path}, line {line_of(row)}, column {column!r}: found {texts[row]!r}, expected "
                "a number, or nothing where undefined"
            )
        known = found[predictors[row]].setdefault(score, {})
        if assays[row] in known:
            raise UserError(
                f"{path}, line {line_of(row)}: {column} of {predictors[row]!r} for assay "
                f"{assays[row]!r} is given twice"
            )
        known[assays[row]] = number


def _number(text: str) -> float | None:
    if text in NOTHING:
        return float("nan")
    try:
        return float(text)
    except ValueError:
        return None
