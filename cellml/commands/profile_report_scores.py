"""Numbers of one experiment for `cellml profile report`: sweep, neighbours, maps, strengths."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import stats

from cellml.commands import profile_scores
from cellml.commands.profile_corrected import PLATE, Corrected, corrected, sphered_variants
from cellml.commands.profile_evaluate import LABELS, EvaluateOptions, lambdas_of
from cellml.commands.profile_layout import Layout, lay_out
from cellml.data.profile_tables import ProfileTable
from cellml.errors import UserError
from cellml.metrics.neighbours import nearest_neighbours, tied_share
from cellml.metrics.relations import shared_labels
from cellml.profiling.aggregate import group_codes
from cellml.profiling.strength import pairs_in_order, treatment_strength
from cellml.report.embeddings import (
    UMAP_AT_LEAST,
    embed_pca,
    embed_umap,
    umap_installed,
)
from cellml.report.profiling_results import (
    CONTROL,
    ExperimentResult,
    Replicates,
    Setting,
    StrengthRanking,
    TrainingCurve,
    WellMaps,
)


def score_experiment(
    name: str,
    table: ProfileTable,
    options: EvaluateOptions,
    *,
    lambdas: tuple[float | None, ...],
    truth: Mapping[str, float] | None = None,
    training: TrainingCurve | None = None,
    umap: bool = True,
    wells_max: int = 5000,
    seed: int = 0,
) -> ExperimentResult:
    """Everything that the report says about one set of features.

    Args:
      name: Of the experiment.
      table: One row a well.
      options: Columns, control condition (which may match no row), sphering and its default lambda.
      lambdas: Regularisations to try; None and the default are always among them.
      truth: True strength by treatment.
      training: Passed on.
      umap: Whether to draw maps of UMAP, which takes a while.
      wells_max: Wells on a map; a random part of more.
      seed: Of UMAP, and of that part.

    Returns:
      The numbers.

    Raises:
      UserError: A column or condition cannot be used; the message names the experiment.
    """
    try:
        table = table.with_column(options.treatment_column)
        none = np.zeros(len(table.features), bool)
        controls = none if options.control is None else table.where(options.control)
        profiles = corrected(
            table,
            controls,
            normalize=options.normalize,
            fill=True,
            batch_column=options.batch_column,
        )
        table, controls, batches = profiles.table, profiles.controls, profiles.batches
        notes = [*table.notes, *profiles.notes]
        tried = lambdas if _spherable(options, controls, notes) else None
        layout = lay_out(
            table,
            controls,
            level="treatment",
            treatment_column=options.treatment_column,
            label_column=_label_column(options),
        )
        settings, replicates, sphered = _sweep(profiles, layout, options, tried)
        strengths = _strengths(table, sphered, controls, options, truth, notes)
        maps = _maps(
            table, sphered, controls, batches, options,
            umap=umap, wells_max=wells_max, seed=seed, notes=notes,
        )  # fmt: skip
    except (UserError, ValueError) as error:
        raise UserError(f"experiment {name}: {error}") from error
    counts = np.unique(batches, return_counts=True)[1]
    n = len(batches)
    return ExperimentResult(
        name=name,
        n_wells=n,
        n_controls=int(controls.sum()),
        n_features=table.features.shape[1],
        n_batches=counts.size,
        settings=settings,
        default=options.regularisation,
        chance_map=chance_map(list(layout.labels or ())),
        chance_batch=float((counts * (counts - 1)).sum() / (n * (n - 1))) if n > 1 else np.nan,
        replicates=replicates,
        maps=maps,
        strengths=strengths,
        training=training,
        notes=notes,
    )


def chance_map(labels: list[str]) -> float:
    """Expected mAP of a random ranking, over treatments with two other right answers or more.

    Args:
      labels: Mechanisms of every treatment, joined by |; "" is none.

    Returns:
      The mean over the queries of E[AP] = ((r - 1)(n - H_n) / (n - 1) + H_n) / n, with r right
      answers among n candidates and H_n the harmonic number; NaN without queries.
    Source: Bestgen 2015, Exact expected average precision of the random baseline.
    """
    labels = [label for label in labels if label]
    n = len(labels) - 1
    if n < 2:
        return float("nan")
    right = shared_labels(labels).dense().sum(axis=1) - 1
    right = right[right >= 2]
    harmonic = float((1 / np.arange(1, n + 1)).sum())
    expected = ((right - 1) * (n - harmonic) / (n - 1) + harmonic) / n
    return float(expected.mean()) if right.size else float("nan")


def result_numbers(result: ExperimentResult) -> dict[str, Any]:
    """The numbers of an experiment as JSON has them."""
    plain, number = profile_scores.plain_scores, profile_scores.plain_number

    return {
        "n_wells": result.n_wells,
        "n_controls": result.n_controls,
        "n_features": result.n_features,
        "default_lambda": result.default,
        "best_lambda": result.best.regularisation,
        "chance_map": number(result.chance_map),
        "chance_same_batch": number(result.chance_batch),
        "sweep": [
            {"lambda": s.regularisation, **{p: plain(found) for p, found in s.scores.items()}}
            for s in result.settings
        ],
        "replicates": [
            {
                "lambda": r.regularisation,
                "same_batch": number(r.same_batch),
                "nsc_1nn": None if r.nsc is None else number(r.nsc.accuracy),
                "nscb_1nn": None if r.nscb is None else number(r.nscb.accuracy),
                "replicate_reproducibility": None
                if r.reproducible is None
                else number(r.reproducible.share),
                **plain(r.scores),
            }
            for r in result.replicates
        ],
        "strengths": [
            {
                "profiles": ranking.space,
                "spearman_with_truth": ranking.rank_correlation,
                "pairs_in_order_within_mechanisms": list(ranking.in_order or ()) or None,
                "treatments": {
                    treatment: {"mean_z": number(mean), "sum_z": number(total)}
                    for treatment, mean, total in zip(
                        ranking.treatments, ranking.mean, ranking.total, strict=True
                    )
                },
            }
            for ranking in result.strengths
        ],
        "notes": list(result.notes),
    }


def _spherable(options: EvaluateOptions, controls: np.ndarray, notes: list[str]) -> bool:
    if options.sphere == "none":
        notes.append("sphering was switched off")
    elif options.control is None:
        notes.append("no condition for controls was given: nothing could be sphered")
    elif controls.sum() < 2:
        notes.append(f"{controls.sum()} wells are controls: nothing could be sphered")
    else:
        return True
    return False


def _sweep(
    profiles: Corrected,
    layout: Layout,
    options: EvaluateOptions,
    lambdas: tuple[float | None, ...] | None,
) -> tuple[list[Setting], list[Replicates], Float[np.ndarray, "n r"] | None]:
    """Scores at every lambda, replicates at two of them, and the profiles at the default one."""
    default = options.regularisation
    # The profiles are made one by one: memory does not grow with the sweep.
    variants = iter([(None, profiles.table.features)])
    if lambdas is not None:
        variants = sphered_variants(profiles, options.sphere, lambdas_of(lambdas, default))
    wells = lay_out(
        profiles.table,
        profiles.controls,
        level="well",
        treatment_column=options.treatment_column,
        label_column=None,
    )
    settings, replicates, sphered = [], [], None
    for regularisation, features in variants:
        scores = profile_scores.retrieval(layout, features, ties=options.ties)
        settings.append(Setting(regularisation, scores.scores))
        if regularisation in (None, default):
            compared = _replicates(profiles, layout, wells, options, features)
            replicates.append(compared._replace(regularisation=regularisation))
        if regularisation == default:
            sphered = features
    return settings, replicates, sphered


def _replicates(
    profiles: Corrected,
    layout: Layout,
    wells: Layout,
    options: EvaluateOptions,
    features: Float[np.ndarray, "n r"],
) -> Replicates:
    """What wells say of each other, and treatments of other compounds and batches."""
    compounds = options.compound_column or options.treatment_column
    batches = profiles.batches
    of_batch = tied_share(nearest_neighbours(features), lambda a, b: batches[a] == batches[b])
    neighbours = []
    for with_batches in (False, True):
        found = profile_scores.other_compounds(
            layout, profiles, features, compounds, other_batches=with_batches
        )
        neighbours.append(None if isinstance(found, str) else found.accuracy)
    reproducible = profile_scores.reproducibility(wells, features, seed=options.seed)
    return Replicates(
        regularisation=None,
        scores=profile_scores.retrieval(wells, features, ties=options.ties).scores["strict"],
        same_batch=float(of_batch[~np.isnan(of_batch)].mean()),
        nsc=neighbours[0],
        nscb=neighbours[1],
        reproducible=None if isinstance(reproducible, str) else reproducible,
    )


def _maps(
    table: ProfileTable,
    sphered: np.ndarray | None,
    controls: np.ndarray,
    batches: np.ndarray,
    options: EvaluateOptions,
    *,
    umap: bool,
    wells_max: int,
    seed: int,
    notes: list[str],
) -> WellMaps:
    n = len(controls)
    rows = np.arange(n)
    if n > wells_max:
        rows = np.sort(np.random.default_rng(seed).choice(n, wells_max, replace=False))
    mechanisms = np.where(controls, CONTROL, table.column(_label_column(options)))
    stages = [table.features[rows]] + ([] if sphered is None else [sphered[rows]])
    maps = {}
    if umap and not umap_installed():
        notes.append("umap-learn is not installed: maps of principal components only")
    elif umap and len(rows) < UMAP_AT_LEAST:
        notes.append(f"{len(rows)} wells are too few for UMAP")
    elif umap:
        maps["UMAP"] = tuple(embed_umap(stage, seed=seed) for stage in stages)
    maps["PCA"] = tuple(embed_pca(stage) for stage in stages)
    return WellMaps(batches[rows], mechanisms[rows], maps, n)


def _strengths(
    table: ProfileTable,
    sphered: np.ndarray | None,
    controls: np.ndarray,
    options: EvaluateOptions,
    truth: Mapping[str, float] | None,
    notes: list[str],
) -> list[StrengthRanking]:
    """Algorithm 1 of the dissertation, raw and sphered; none where it cannot be, with a note."""
    if not controls.any():
        return []
    spaces = [("not sphered", table.features)]
    if sphered is not None:
        after = (f"sphered with lambda {options.regularisation:g}", sphered)
        # With fewer controls than features the sphered controls lie at one distance from their
        # median: z-scores by the spread of these distances would run into the thousands.
        spaces.insert(0 if controls.sum() >= table.features.shape[1] else 1, after)
    try:
        return [_strength(name, values, table, controls, options, truth) for name, values in spaces]
    except ValueError as error:
        notes.append(f"no strengths of treatments: {error}")
        return []


def _strength(
    space: str,
    features: np.ndarray,
    table: ProfileTable,
    controls: np.ndarray,
    options: EvaluateOptions,
    truth: Mapping[str, float] | None,
) -> StrengthRanking:
    treatments = table.column(options.treatment_column)
    names, codes = group_codes(treatments)
    plates = np.zeros(len(codes), np.int64)
    if PLATE in table.metadata.columns:
        plates = group_codes(table.column(PLATE))[1]
    found = treatment_strength(features, plates, np.where(treatments == "", -1, codes), controls)
    listed = tuple(str(names[code]) for code in found.treatment)
    labels = table.column(_label_column(options))
    label = dict(zip(treatments[~controls], labels[~controls], strict=True))
    mechanisms = tuple(str(label[name]) for name in listed)
    known, correlation, in_order = None, None, None
    if truth is not None:
        known = np.array([truth.get(name, np.nan) for name in listed])
        both = ~np.isnan(known) & ~np.isnan(found.mean)
        if both.sum() > 2 and np.ptp(known[both]) > 0 and np.ptp(found.mean[both]) > 0:
            correlation = float(stats.spearmanr(known[both], found.mean[both]).statistic)
        groups = np.where(np.array(mechanisms) == "", -1, group_codes(np.array(mechanisms))[1])
        in_order = pairs_in_order(found.mean, known, groups)
        if np.isnan(known).all():
            known, in_order = None, None
    return StrengthRanking(
        space, listed, found.mean, found.total, mechanisms, known, correlation, in_order
    )


def _label_column(options: EvaluateOptions) -> str:
    return options.label_column or LABELS
