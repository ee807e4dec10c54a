"""`cellml profile evaluate`: how well similar profiles share mechanisms."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
from jaxtyping import Bool, Float
from rich.console import Console

from cellml.commands import profile_scores
from cellml.commands.long_work import say
from cellml.commands.profile_corrected import (
    Corrected,
    check_correction,
    corrected,
    sphered_variants,
    sphering_in_words,
)
from cellml.commands.profile_evaluate_shown import scores_table, summary_lines, sweep_table
from cellml.commands.profile_layout import LEVELS, Layout, lay_out
from cellml.commands.profile_scores import Retrieval, plain_number, plain_scores
from cellml.data.profile_joins import pair_joins, read_join
from cellml.data.profile_tables import ProfileTable, read_profiles
from cellml.data.writers import write_json
from cellml.errors import UsageError
from cellml.metrics.ranks import TiePolicy
from cellml.metrics.sweep import LAMBDAS

LABELS = "Metadata_moa"
"""Column of the labels at the level "treatment", if none is given."""


@dataclass(frozen=True)
class EvaluateOptions:
    """What the user asked for; see `cellml profile evaluate --help`.

    Attributes:
      tables: One row a well or a site.
      label_column: Label of a treatment. None is `LABELS` at the level "treatment"; at the others
        wells (or sites) of one treatment are looked for.
      treatment_column: Treatment of a row; several columns are joined by @.
      control: Condition for rows that are controls.
      features_regex: As in `cellml.data.profile_tables.read_profiles`.
      sphere: A key of `cellml.commands.profile_corrected.SPHERING`.
      regularisation: Lambda of the sphering.
      level: What a profile is.
      json_file: Where all numbers go.
      normalize: Per plate, against the controls, before sphering.
      ties: See `cellml.metrics.ranks.TiePolicy`.
      p_values: Samples of the null distribution; 0 is without p-values.
      batch_column: Batch of a row; Metadata_Batch or else the plate, if None.
      compound_column: Compound of a row; the treatment, if None.
      metadata: Tables of metadata to join.
      on: By which columns, one entry a table.
      sweep: Whether all lambdas are tried where profiles are sphered.
      seed: Of null distributions.
    """

    tables: Sequence[str]
    label_column: str | None = None
    treatment_column: str = "Metadata_treatment"
    control: str | None = None
    features_regex: str | None = None
    sphere: str = "none"
    regularisation: float = 1e-2
    level: str = "treatment"
    json_file: Path | None = None
    normalize: str = "none"
    ties: str = "threshold"
    p_values: int = 0
    batch_column: str | None = None
    compound_column: str | None = None
    metadata: Sequence[Path] = ()
    on: Sequence[str] = ()
    sweep: bool = True
    seed: int = 0

    @property
    def labels(self) -> str | None:
        """The column of the labels; None where treatments are looked for."""
        at_treatments = self.level == "treatment"
        return LABELS if self.label_column is None and at_treatments else self.label_column


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
    check_options(options)
    joins = [read_join(path, on) for path, on in pair_joins(options.metadata, options.on)]
    table = read_profiles(options.tables, features_regex=options.features_regex, joins=joins)
    result = evaluate_table(table, options)
    for note in result["notes"]:
        say(console, f"note: {note}")
    if options.json_file:
        write_json(options.json_file, result)
    console.print(scores_table(result), markup=False)
    if result["sweep"]:
        console.print(sweep_table(result), markup=False)
    for line in summary_lines(result):
        say(console, line)
    return result


def check_options(options: EvaluateOptions) -> None:
    """Raises UsageError where options make no sense, before anything is read."""
    lambdas = [options.regularisation]
    check_correction(normalize=options.normalize, sphere=options.sphere, lambdas=lambdas)
    if options.level not in LEVELS:
        raise UsageError(f"--level {options.level}: expected one of {', '.join(LEVELS)}")
    if options.ties not in get_args(TiePolicy):
        expected = ", ".join(get_args(TiePolicy))
        raise UsageError(f"--ties {options.ties}: expected one of {expected}")
    if options.p_values < 0:
        raise UsageError(f"--p-values {options.p_values}: a number of samples expected")


def evaluate_table(table: ProfileTable, options: EvaluateOptions) -> dict[str, Any]:
    """The scores of a table of wells or sites.

    Args:
      table: Profiles.
      options: See `EvaluateOptions`.

    Returns:
      `map`, `map_interpolated`, `folds_of_enrichment`, `precision_at_k`, `hits_top1pct`,
      `n_queries` and more under the protocol `strict`, the same under `moshkov2024`, the `sweep`
      over lambda, and `how` each was computed.

    Raises:
      UserError: As `run`.
    """
    profiles, layout = prepared(table, options)
    retrieved, sweep, features = _retrieved(profiles, layout, options)
    strict = plain_scores(retrieved.scores["strict"])
    how = {
        "profiles": layout.how,
        "features": table.taken,
        "normalisation": _normalisation_in_words(options),
        "sphering": sphering_in_words(profiles, options.sphere, options.regularisation),
        **strict.pop("how"),
    }
    more = _more_scores(profiles, layout, features, retrieved, options, how)
    others = {k: plain_scores(v) for k, v in retrieved.scores.items() if k != "strict"}
    how |= {protocol: f"not computed: {why}" for protocol, why in retrieved.missing.items()}
    return {
        "tables": [str(path) for path in options.tables],
        "level": options.level,
        "n_features": int(features.shape[1]),
        "n_controls": int(profiles.controls.sum()),
        "normalize": options.normalize,
        "sphere": options.sphere,
        "lambda": options.regularisation if options.sphere != "none" else None,
        "ties": options.ties,
        "n_profiles": len(layout.treatment),
        "protocol": "strict",
        **strict,
        **more,
        "sweep": sweep,
        "dropped_features": {why: list(names) for why, names in profiles.dropped.items()},
        "notes": [*table.notes, *profiles.notes],
        "how": how,
        **others,
    }


def prepared(table: ProfileTable, options: EvaluateOptions) -> tuple[Corrected, Layout]:
    """Profiles that are ready to be sphered and scored, and what each row belongs to.

    Args:
      table: Profiles.
      options: See `EvaluateOptions`.

    Returns:
      The profiles, and their layout.

    Raises:
      UserError: A column or condition cannot be used, or nothing is left.
    """
    table = table.with_column(options.treatment_column)
    profiles = corrected(
        table,
        control_rows(table, options.control),
        normalize=options.normalize,
        fill=options.sphere != "none",
        batch_column=options.batch_column,
    )
    layout = lay_out(
        profiles.table,
        profiles.controls,
        level=options.level,
        treatment_column=options.treatment_column,
        label_column=options.labels,
    )
    return profiles, layout


def control_rows(table: ProfileTable, control: str | None) -> Bool[np.ndarray, " n"]:
    """Which rows are controls; none without a condition, UserError where one matches no row."""
    return np.zeros(len(table.features), bool) if control is None else table.matching(control)


def lambdas_of(
    sweep: Sequence[float | None], default: float, *, every: bool = True
) -> list[float | None]:
    """The regularisations to try: none, then descending.

    Args:
      sweep: Those asked for.
      default: Always among them.
      every: Or else the default alone.

    Returns:
      Each once.
    """
    if not every:
        return [default]
    return [None, *sorted({default, *(v for v in sweep if v is not None)}, reverse=True)]


def _retrieved(
    profiles: Corrected, layout: Layout, options: EvaluateOptions
) -> tuple[Retrieval, list[dict[str, Any]], Float[np.ndarray, "n r"]]:
    """Scores at the default lambda, those of the sweep, and the features at the default."""
    if options.sphere == "none":
        features = profiles.table.features
        return profile_scores.retrieval(layout, features, ties=options.ties), [], features
    sweep, at_default = [], None
    lambdas = lambdas_of(LAMBDAS, options.regularisation, every=options.sweep)
    for value, features in sphered_variants(profiles, options.sphere, lambdas):
        found = profile_scores.retrieval(layout, features, ties=options.ties)
        plain = {protocol: plain_scores(scores) for protocol, scores in found.scores.items()}
        for scores in plain.values():
            del scores["how"]
        sweep.append({"lambda": value, **plain})
        if value == options.regularisation:
            at_default = found, features
    assert at_default is not None  # the default is always among the lambdas
    return at_default[0], sweep if options.sweep else [], at_default[1]


def _more_scores(
    profiles: Corrected,
    layout: Layout,
    features: Float[np.ndarray, "n r"],
    retrieved: Retrieval,
    options: EvaluateOptions,
    how: dict[str, str],
) -> dict[str, Any]:
    """Neighbours, replicates and chance, with how each was computed put into `how`."""
    found: dict[str, Any] = {}
    compounds = options.compound_column or options.treatment_column
    for key, with_batches in (("nsc_1nn", False), ("nscb_1nn", True)):
        neighbour = profile_scores.other_compounds(
            layout, profiles, features, compounds, other_batches=with_batches
        )
        found[key] = profile_scores.plain_neighbour(neighbour)
        batch = f" and batch ({profiles.batch_column})" if with_batches else ""
        how[key] = (
            f"not computed: {neighbour}"
            if isinstance(neighbour, str)
            else f"share of profiles whose most similar one of another compound ({compounds})"
            f"{batch} shares a label; equally similar ones count with the share that does; "
            "accuracy_answerable counts those that such a one exists for"
        )
    replicates = lay_out(
        profiles.table,
        profiles.controls,
        level="well",
        treatment_column=options.treatment_column,
        label_column=None,
    )
    compared = profile_scores.reproducibility(replicates, features, seed=options.seed)
    found["replicate_reproducibility"] = profile_scores.plain_reproducibility(compared)
    how["replicate_reproducibility"] = (
        f"not computed: {compared}"
        if isinstance(compared, str)
        else "share of treatments with 2 or more wells whose median correlation is above the 95th "
        f"percentile of that of {profile_scores.N_NULL} random sets of wells of different "
        "treatments"
    )
    if options.p_values:
        chance = profile_scores.significance(
            layout, retrieved.scores["strict"], size=options.p_values, seed=options.seed
        )
        for name in ("p", "q"):
            values = getattr(chance, name)
            found[f"{name}_values"] = {
                treatment: plain_number(value)
                for treatment, value in zip(chance.treatments, values, strict=True)
            }
        found["significant_share"] = plain_number(chance.share)
        how["p_values"] = (
            "chance that a random ranking has as high an average precision (>=): all outcomes "
            f"counted where they are few, else {options.p_values} samples"
        )
        how["q_values"] = "false discovery rate, Benjamini-Hochberg over all treatments"
        how["significant_share"] = f"q at most {profile_scores.Q_LIMIT}"
    return found


def _normalisation_in_words(options: EvaluateOptions) -> str:
    if options.normalize == "none":
        return "none"
    return f"{options.normalize} of every feature, by the controls of each plate"
