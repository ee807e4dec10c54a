"""`cellml profile evaluate`: how well similar profiles share mechanisms."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from rich.console import Console
from rich.table import Table

from cellml.data.profile_tables import ProfileTable, read_profiles
from cellml.data.writers import write_json
from cellml.errors import UsageError, UserError
from cellml.metrics.protocols import RetrievalScores, evaluate_retrieval
from cellml.metrics.relations import moshkov2024_labels, same_group, shared_labels
from cellml.profiling.aggregate import group_codes, group_mean
from cellml.profiling.sphering import control_spectrum, sphere

SPHERING = {
    "none": None,
    "zca": "ZCA",
    "pca": "PCA",
    "zca-cor": "ZCA-cor",
    "pca-cor": "PCA-cor",
    "dissertation-printed": "dissertation-printed",
}
LEVELS = ("treatment", "well", "site")


@dataclass(frozen=True)
class EvaluateOptions:
    """What the user asked for; see `cellml profile evaluate --help`."""

    tables: Sequence[str]
    label_column: str = "Metadata_moa"
    treatment_column: str = "Metadata_treatment"
    control: str | None = None
    features_regex: str | None = None
    sphere: str = "none"
    regularisation: float = 1e-2
    level: str = "treatment"
    json_file: Path | None = None


def run(options: EvaluateOptions, console: Console) -> dict[str, Any]:
    """Evaluates tables of profiles and prints the scores.

    Args:
      options: See `EvaluateOptions`.
      console: Where to print.

    Returns:
      What is written to the JSON file.

    Raises:
      UserError: A table, column or condition cannot be used.
    """
    if options.sphere not in SPHERING:
        raise UsageError(f"--sphere {options.sphere}: expected one of {', '.join(SPHERING)}")
    if options.level not in LEVELS:
        raise UsageError(f"--level {options.level}: expected one of {', '.join(LEVELS)}")
    if not options.regularisation >= 0:
        raise UsageError(f"--lambda {options.regularisation:g}: 0 or more expected")
    table = read_profiles(options.tables, features_regex=options.features_regex)
    for note in table.notes:
        console.print(f"note: {note}", soft_wrap=True, highlight=False)
    result = evaluate_table(table, options)
    if options.json_file:
        write_json(options.json_file, result)
    console.print(_as_table(result))
    console.print(
        f"{result['n_features']} features, {result['n_profiles']} profiles, {result['n_controls']} "
        f"controls; {result['how']['profiles']}",
        soft_wrap=True,
        highlight=False,
    )
    return result


def evaluate_table(table: ProfileTable, options: EvaluateOptions) -> dict[str, Any]:
    """The scores of a table of wells or sites.

    Args:
      table: Profiles.
      options: See `EvaluateOptions`.

    Returns:
      `map`, `map_interpolated`, `folds_of_enrichment`, `precision_at_k`, `hits_top1pct`,
      `n_queries` under the protocol `strict`, the same under `moshkov2024` at treatment level, and
      `how` each was computed.

    Raises:
      UserError: As `run`.
    """
    is_control = (
        table.where(options.control) if options.control else np.zeros(len(table.features), bool)
    )
    treatments = table.column(options.treatment_column)
    features, sphering = _sphered(table, is_control, options)
    kept = ~is_control & (treatments != "")
    if not kept.any():
        raise UserError(f"every row is a control or has no {options.treatment_column}")
    part = ProfileTable(features, table.names, table.metadata).take(kept)
    n_controls = int(is_control.sum())
    common = {
        "tables": [str(path) for path in options.tables],
        "level": options.level,
        "n_features": int(features.shape[1]),
        "n_controls": n_controls,
        "sphere": options.sphere,
        "lambda": options.regularisation if options.sphere != "none" else None,
    }
    if options.level == "treatment":
        scores, n_profiles, how = by_mechanism(part, options)
    else:
        scores, n_profiles, how = by_treatment(part, options)
    strict = plain_scores(scores["strict"])
    how = {"profiles": how, "sphering": sphering, **strict.pop("how")}
    others = {name: plain_scores(found) for name, found in scores.items() if name != "strict"}
    return {
        **common,
        "n_profiles": n_profiles,
        "protocol": "strict",
        **strict,
        "how": how,
        **others,
    }


def _sphered(
    table: ProfileTable, is_control: np.ndarray, options: EvaluateOptions
) -> tuple[Float[np.ndarray, "n f"], str]:
    """Features after sphering, and how that was done in words."""
    method = SPHERING[options.sphere]
    if method is None:
        return table.features, "none"
    if int(is_control.sum()) < 2:
        raise UserError(
            f"--sphere {options.sphere}: --control has to choose at least 2 rows, found "
            f"{int(is_control.sum())}"
        )
    try:
        spectrum = control_spectrum(table.features[is_control], method=method)
        features = sphere(
            table.features, spectrum, method=method, regularisation=options.regularisation
        )
    except ValueError as error:
        raise UserError(f"--sphere {options.sphere}: {error}") from error
    return features, (
        f"{method} of all rows together, by the covariance of the {int(is_control.sum())} "
        f"controls, lambda {options.regularisation:g} on its eigenvalues, float64"
    )


def by_mechanism(
    part: ProfileTable, options: EvaluateOptions
) -> tuple[dict[str, RetrievalScores], int, str]:
    """Treatments that share a label find each other.

    Args:
      part: Rows of treatments, without controls.
      options: Says the columns.

    Returns:
      Scores by protocol (`moshkov2024` is missing where a label is no regular expression, as the
      notebooks need it), number of profiles, and how they were made.

    Raises:
      UserError: A treatment has two labels, or fewer than two have one.
    """
    treatments = part.column(options.treatment_column).tolist()
    labels = part.column(options.label_column).tolist()
    names, codes = group_codes(np.array(treatments))
    wells, treatment_of_well = _well_means(part, codes)
    profiles = group_mean(wells, treatment_of_well, n_groups=len(names))
    label_of = np.full(len(names), "", dtype=object)
    for name, code, label in zip(treatments, codes, labels, strict=True):
        if label_of[code] not in ("", label) and label:
            raise UserError(
                f"{options.treatment_column} {name!r} has two values of {options.label_column}: "
                f"{label_of[code]!r} and {label!r}"
            )
        label_of[code] = label_of[code] or label
    labelled = np.array([bool(label) for label in label_of])
    if labelled.sum() < 2:
        raise UserError(f"fewer than two treatments have a {options.label_column}")
    profiles, texts = profiles[labelled], list(label_of[labelled])
    found = {"strict": evaluate_retrieval(profiles, shared_labels(texts), protocol="strict")}
    with contextlib.suppress(ValueError):  # a label that is no regular expression
        relation = moshkov2024_labels(texts)
        found["moshkov2024"] = evaluate_retrieval(profiles, relation, protocol="moshkov2024")
    how = (
        f"rows of a well averaged, wells of a treatment averaged; controls and "
        f"{int((~labelled).sum())} treatments without {options.label_column} left out; several "
        "labels are separated by |"
    )
    return found, len(texts), how


def by_treatment(
    part: ProfileTable, options: EvaluateOptions
) -> tuple[dict[str, RetrievalScores], int, str]:
    """Wells (or sites) of one treatment find each other; not those of the own well.

    Args:
      part: Rows of treatments, without controls.
      options: Says the level and the columns.

    Returns:
      As of `by_mechanism`; protocol `strict` alone.
    """
    codes = group_codes(part.column(options.treatment_column))[1]
    well = group_codes(_well_keys(part))[1]
    profiles = part.features
    if options.level == "well":
        profiles, codes = _well_means(part, codes)
        well = np.arange(len(profiles))
    found = evaluate_retrieval(
        profiles,
        same_group(codes),
        level=options.level,
        treatments=codes,
        exclude=well[:, None],
    )
    how = f"one profile a {options.level}; a query's own well is no candidate; controls left out"
    return {"strict": found}, len(profiles), how


def _well_means(
    part: ProfileTable, codes: np.ndarray
) -> tuple[Float[np.ndarray, "w f"], np.ndarray]:
    """Mean of the rows of every well, and the treatment of each."""
    wells, well_of_row = group_codes(_well_keys(part))
    treatment = np.full(len(wells), -1)
    for row, (well, code) in enumerate(zip(well_of_row, codes, strict=True)):
        if treatment[well] not in (-1, code):
            raise UserError(f"row {row + 1}: well {wells[well]} has two treatments")
        treatment[well] = code
    return group_mean(part.features, well_of_row, n_groups=len(wells)), treatment


def _well_keys(part: ProfileTable) -> np.ndarray:
    """Plate and well of every row; rows of their own where the table has no such columns."""
    names = ("Metadata_Plate", "Metadata_Well")
    if not all(name in part.metadata.columns for name in names):
        return np.array([f"row {i}" for i in range(len(part.features))])
    plate, well = (part.column(name) for name in names)
    return np.array([f"{p}/{w}" for p, w in zip(plate, well, strict=True)])


def plain_scores(scores: RetrievalScores) -> dict[str, Any]:
    """Numbers as JSON has them; undefined ones are null."""

    def number(value: float) -> float | None:
        return None if not np.isfinite(value) else float(value)

    return {
        "map": number(scores.map),
        "map_interpolated": number(scores.map_interpolated),
        "folds_of_enrichment": number(scores.folds_of_enrichment),
        "folds_of_enrichment_median": number(scores.folds_median),
        "log_odds": number(scores.log_odds),
        "infinite_share": number(scores.infinite_share),
        "precision_at_k": {str(k): number(v) for k, v in scores.precision_at_k.items()},
        "hits_top1pct": scores.hits_top1pct,
        "n_treatments": scores.n_treatments,
        "n_queries": dict(scores.n_queries),
        "how": dict(scores.definitions),
    }


def _as_table(result: Mapping[str, Any]) -> Table:
    """The scores for the terminal, one column a protocol."""
    protocols = {"strict": result} | {k: result[k] for k in ("moshkov2024",) if k in result}
    table = Table(title=f"level {result['level']}, sphering {result['sphere']}", box=None)
    table.add_column("score")
    for name in protocols:
        table.add_column(name, justify="right")
    rows = ("map", "map_interpolated", "folds_of_enrichment", "folds_of_enrichment_median")
    for name in rows:
        table.add_row(name, *(_shown(found[name]) for found in protocols.values()))
    for k in result["precision_at_k"]:
        values = (found["precision_at_k"].get(k) for found in protocols.values())
        table.add_row(f"precision at {k}", *map(_shown, values))
    hits = (f"{found['hits_top1pct']} of {found['n_treatments']}" for found in protocols.values())
    table.add_row("hits in top 1 %", *hits)
    table.add_row("queries (map)", *(str(f["n_queries"]["map"]) for f in protocols.values()))
    return table


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
