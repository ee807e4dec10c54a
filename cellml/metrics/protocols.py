"""Evaluation of profiles as the dissertation reports it, in two readings: `strict`, `moshkov2024`.

`strict` is what the text says. `moshkov2024` is what the published notebooks compute:
- labels of mechanisms are searched as regular expressions that nobody escaped (their relation is
  `moshkov2024_labels`, which the caller makes);
- the interpolated curve is read at as many recalls as there are profiles, one recall too late;
- a treatment whose mechanism no other has counts as a hit of the top 1 %;
- at well and image level ranks are counted from 0.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Integer
from scipy import stats

from cellml.metrics.relations import Relation
from cellml.metrics.retrieval import BLOCK, Profiles, QueryScores, score_queries

PROTOCOLS = ("strict", "moshkov2024")
LEVELS = ("treatment", "well", "site")


class Enrichment(NamedTuple):
    """Odds of a right answer among the top 1 % of a query, against the rest.

    Attributes:
      odds_ratio: Sample odds ratio per query; infinity became `infinite_value`, NaN is undefined.
      infinite: Queries whose odds ratio was infinite: nothing right outside the top, or nothing
        wrong within.
      log_odds: Logarithm of the odds ratio after adding 1/2 to every count (Haldane), finite.
      p_value: One-sided exact test of Fisher.
    """

    odds_ratio: np.ndarray
    infinite: np.ndarray
    log_odds: np.ndarray
    p_value: np.ndarray


class RetrievalScores(NamedTuple):
    """Scores of a set of profiles under one protocol.

    Attributes:
      protocol: "strict" or "moshkov2024".
      level: What a profile is: "treatment", "well" or "site".
      map: Mean average precision over the queries with 2 or more right answers.
      map_interpolated: The same of the interpolated precision.
      folds_of_enrichment: Mean odds ratio at the top 1 %, infinity replaced by the number of
        profiles, over the queries with 1 or more right answers.
      folds_median: Median of the same.
      log_odds: Mean log odds ratio after Haldane's correction.
      infinite_share: Share of infinite odds ratios, which dominate `folds_of_enrichment`.
      precision_at_k: Mean precision at each k over the queries with 1 or more right answers.
      hits_top1pct: Treatments whose first right answer lies, on average over their queries, in the
        top 1 % of the ranking.
      n_treatments: Treatments that could be hits.
      n_queries: Queries behind each score.
      recall: Recalls of `precision`.
      precision: Mean interpolated precision-recall curve.
      definitions: How each score was computed, in words.
      queries: What they were computed from.
    """

    protocol: str
    level: str
    map: float
    map_interpolated: float
    folds_of_enrichment: float
    folds_median: float
    log_odds: float
    infinite_share: float
    precision_at_k: dict[int, float]
    hits_top1pct: int
    n_treatments: int
    n_queries: dict[str, int]
    recall: np.ndarray
    precision: np.ndarray
    definitions: dict[str, str]
    queries: QueryScores


def evaluate_retrieval(
    profiles: Profiles,
    relation: Relation,
    *,
    protocol: str = "strict",
    level: str = "treatment",
    treatments: Integer[np.ndarray, " n"] | None = None,
    queries: Bool[np.ndarray, " n"] | None = None,
    candidates: Bool[np.ndarray, " n"] | None = None,
    exclude: Integer[np.ndarray, "n g"] | None = None,
    ks: tuple[int, ...] = (1, 5, 10, 20, 50),
    ties: str = "threshold",
    block: int = BLOCK,
) -> RetrievalScores:
    """Scores profiles by how well similar ones share mechanisms (or treatments).

    Args:
      profiles: Finite, one per treatment, well or site.
      relation: Right answers: `shared_labels` for mechanisms with "strict", `moshkov2024_labels`
        with "moshkov2024", `same_group` of treatments at the levels "well" and "site".
      protocol: "strict" or "moshkov2024", see the top of the file.
      level: What a profile is.
      treatments: Treatment of each profile, over whose queries the hits are averaged; every
        profile by itself, if None.
      queries: Which profiles are queries; all, if None.
      candidates: Which profiles are ranked; all, if None.
      exclude: Codes that a candidate must not share with the query, such as its well.
      ks: Places of the precision.
      ties: See `cellml.metrics.ranks.TiePolicy`.
      block: Queries at a time.

    Returns:
      All scores. NaN where no query qualifies.

    Raises:
      ValueError: Unknown protocol or level, or as for `score_queries`.
    """
    for name, value, known in (("protocol", protocol, PROTOCOLS), ("level", level, LEVELS)):
        if value not in known:
            raise ValueError(f"{name} must be one of {list(known)}, found {value!r}")
    n = len(profiles)
    notebooks = protocol == "moshkov2024"
    scores = score_queries(
        profiles,
        relation,
        queries=queries,
        candidates=candidates,
        exclude=exclude,
        ks=ks,
        ties=ties,
        recall_points=max(n, 2) if notebooks else None,
        lag=notebooks,
        block=block,
    )
    for_map, for_rest = scores.n_right >= 2, scores.n_right >= 1
    folds = enrichment(scores, infinite_value=float(n))
    odds = folds.odds_ratio[for_rest & ~np.isnan(folds.odds_ratio)]
    hit = top_hits(scores, treatments=treatments, protocol=protocol, level=level)
    return RetrievalScores(
        protocol=protocol,
        level=level,
        map=_mean(scores.ap[for_map]),
        map_interpolated=_mean(scores.ap_interpolated[for_map]),
        folds_of_enrichment=_mean(odds),
        folds_median=float(np.median(odds)) if odds.size else np.nan,
        log_odds=_mean(folds.log_odds[for_rest]),
        infinite_share=_mean(folds.infinite[for_rest]),
        precision_at_k={k: _mean(v[for_rest]) for k, v in scores.precision_at.items()},
        hits_top1pct=int(hit.sum()),
        n_treatments=int(hit.size),
        n_queries={
            "map": int(for_map.sum()),
            "map_interpolated": int(for_map.sum()),
            "folds_of_enrichment": int(odds.size),
            "precision_at_k": int(for_rest.sum()),
            "hits_top1pct": int(scores.query.size),
        },
        recall=scores.recall,
        precision=scores.precision,
        definitions=_definitions(protocol, level, ties),
        queries=scores,
    )


def enrichment(scores: QueryScores, *, infinite_value: float) -> Enrichment:
    """Tests whether right answers gather above the 99th percentile of the similarities.

    Args:
      scores: Of q queries.
      infinite_value: Stands for an infinite odds ratio.

    Returns:
      One value per query; undefined (NaN, p 1) where nothing is right or nothing in the top.
    Source: Rohban et al. 2019 / Moshkov et al. 2024, folds of enrichment.
    """
    right_in = scores.right_in_top.astype(np.float64)
    wrong_in = scores.n_top - right_in
    right_out = scores.n_right - right_in
    wrong_out = scores.n_candidates - scores.n_top - right_out
    defined = (scores.n_right > 0) & (scores.n_top > 0)
    defined &= (scores.n_right < scores.n_candidates) & (scores.n_top < scores.n_candidates)
    product, other = right_in * wrong_out, wrong_in * right_out
    infinite = defined & (other == 0)
    ratio = np.where(infinite, infinite_value, product / np.where(other == 0, 1, other))
    corrected = (right_in + 0.5) * (wrong_out + 0.5) / ((wrong_in + 0.5) * (right_out + 0.5))
    p = stats.hypergeom.sf(right_in - 1, scores.n_candidates, scores.n_right, scores.n_top)
    return Enrichment(
        np.where(defined, ratio, np.nan), infinite, np.log(corrected), np.where(defined, p, 1.0)
    )


def top_hits(
    scores: QueryScores,
    *,
    treatments: Integer[np.ndarray, " n"] | None = None,
    protocol: str = "strict",
    level: str = "treatment",
    share: float = 0.01,
) -> Bool[np.ndarray, " t"]:
    """Tells for each treatment whether its first right answer lies in the top of the ranking.

    Args:
      scores: Of q queries.
      treatments: Treatment of each profile (not of each query); every profile by itself, if None.
      protocol: "strict": the mean place of the first right answer, from 1, is at most
        `share` times the number of candidates, and place 1 always suffices. A treatment one of
        whose queries has no right answer is no hit. "moshkov2024": the number of profiles ranked
        before it (the query itself included at level "treatment") is at most `share` times the
        number of queries, and queries without right answers count as place 0.
      level: What a profile is.
      share: The top, 0.01 for 1 %.

    Returns:
      One flag per treatment that has queries, in the order of their codes.
    """
    codes = scores.query if treatments is None else np.asarray(treatments)[scores.query]
    _, group = np.unique(codes, return_inverse=True)
    count = np.bincount(group)
    place = scores.first_rank.astype(np.float64)
    if protocol == "strict":
        limit = np.bincount(group, scores.n_candidates) / count * share
        return np.bincount(group, place) / count <= np.maximum(limit, 1.0)
    before = place if level == "treatment" else place - 1
    before = np.where(np.isinf(place), 0.0, before)
    return np.bincount(group, before) / count <= share * scores.query.size


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values, dtype=np.float64)) if values.size else float("nan")


def _definitions(protocol: str, level: str, ties: str) -> dict[str, str]:
    notebooks = protocol == "moshkov2024"
    return {
        "map": f"cosine similarity, query left out, ties {ties!r}; mean over queries with >= 2 "
        "right answers",
        "map_interpolated": "p(r) = max precision at recall >= r, mean over "
        + ("as many recalls as profiles, read one recall late" if notebooks else "right answers"),
        "folds_of_enrichment": "sample odds ratio of right answers strictly above the 99th "
        "percentile of the query's similarities, infinity replaced by the number of profiles; mean "
        "over queries with >= 1 right answer",
        "precision_at_k": "share of right answers among the k most similar (of k always: with "
        "fewer candidates the others count as wrong); mean over queries with >= 1 right answer",
        "hits_top1pct": f"{level} level: treatments whose first right answer is, on average, in "
        "the top 1 %; treatments without a partner "
        + ("count as hits" if notebooks else "are no hits"),
    }
