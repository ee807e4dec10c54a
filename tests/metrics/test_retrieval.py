import numpy as np
import pandas as pd
import pytest
from copairs import map as copairs_map
from jaxtyping import TypeCheckError
from scipy import stats
from sklearn.metrics import average_precision_score

from cellml.metrics.neighbours import nearest_neighbours, neighbour_accuracy, tied_share
from cellml.metrics.protocols import enrichment, evaluate_retrieval, top_hits
from cellml.metrics.relations import moshkov2024_labels, same_group, shared_labels
from cellml.metrics.retrieval import score_queries
from cellml.metrics.sweep import best_of, sweep
from tests.metrics import retrieval_oracles as oracles

N = 220
LABELS = [
    ["a"], ["a", "b"], ["b"], ["c"], ["c", "a"], ["d"], [], ["e", "f"], ["f"], ["g"], ["g", "h"],
]  # fmt: skip


def screen(seed=0, n=N):
    """Profiles that resemble each other a little by their labels; the first label is unique."""
    rng = np.random.default_rng(seed)
    labels = [["only"]] + [LABELS[i] for i in rng.integers(0, len(LABELS), n - 1)]
    centre = {name: rng.normal(size=12) for name in "abcdefgh"}
    profiles = np.stack(
        [sum([centre.get(x, 0) for x in names], rng.normal(size=12) * 1.5) for names in labels]
    )
    return profiles.astype(np.float32), labels


PROFILES, NAMES = screen()
RELATION = shared_labels(["|".join(names) for names in NAMES])
WELLS = np.random.default_rng(3).integers(0, 40, (N, 1))


@pytest.fixture(scope="module")
def scores():
    return score_queries(PROFILES, RELATION, ks=(1, 7), block=64)


def test_relation_equals_loops():
    expected = [[bool(set(a) & set(b)) for b in NAMES] for a in NAMES]
    np.testing.assert_array_equal(RELATION.dense(), expected)
    counts = RELATION.dense().sum(1)
    assert (RELATION.at_most() >= counts).all()
    single = same_group(np.array([3, -1, 3, 7, -1]))
    np.testing.assert_array_equal(single.dense().nonzero(), ([0, 0, 2, 2, 3], [0, 2, 0, 2, 3]))
    np.testing.assert_array_equal(single.at_most(), [2, 0, 2, 1, 0])


def test_labels_are_taken_as_they_are():
    texts = ["a| b", "b|a|a", None, float("nan"), "", "a (+)", "a (+)"]
    np.testing.assert_array_equal(
        shared_labels(texts).dense(),
        np.array(
            [
                [1, 1, 0, 0, 0, 0, 0],
                [1, 1, 0, 0, 0, 0, 0],
                *[[0] * 7] * 3,
                [0, 0, 0, 0, 0, 1, 1],
                [0, 0, 0, 0, 0, 1, 1],
            ],
            bool,
        ),
    )
    whole = shared_labels(["a|b", "b|a", "a|b"], separator=None).dense()
    np.testing.assert_array_equal(whole, [[1, 0, 1], [0, 1, 0], [1, 0, 1]])


def test_unescaped_labels_of_the_notebooks():
    texts = ["a (x+)", "a (x+)", "b|c", "c", "bc", "a.", "ab"]
    found = moshkov2024_labels(texts).dense()
    assert not found[0, 1]  # the slip: brackets and plus signs are a pattern
    assert found[2, 3]
    assert found[3, 2]
    assert not found[2, 4]  # labels are compared as a whole
    assert found[5, 6]  # and a dot is any letter
    assert not found[6, 5]
    with pytest.raises(ValueError, match="no valid regular expression"):
        moshkov2024_labels(["kinase (inhibitor"])


@pytest.mark.parametrize("excluding", [False, True])
def test_scores_equal_loops(scores, excluding):
    exclude = WELLS if excluding else None
    found = score_queries(PROFILES, RELATION, exclude=WELLS, ks=(1, 7)) if excluding else scores
    folds = enrichment(found, infinite_value=1e9)
    for q, (similarity, relevant) in enumerate(
        oracles.rank_lists(PROFILES.astype(float), NAMES, exclude=exclude)
    ):
        order = [relevant[i] for i in np.argsort(-similarity)]
        assert found.n_right[q] == sum(order)
        assert found.n_candidates[q] == len(order)
        np.testing.assert_allclose(found.ap[q], oracles.average_precision(order), rtol=1e-5)
        np.testing.assert_allclose(
            found.ap_interpolated[q], oracles.interpolated_average_precision(order), rtol=1e-5
        )
        for k in (1, 7):
            assert found.precision_at[k][q] == pytest.approx(sum(order[:k]) / k)
        if not any(order):
            assert found.first_rank[q] == np.inf
            continue
        assert found.first_rank[q] == order.index(1) + 1
        ratio, table = oracles.odds_ratio(similarity, relevant)
        assert found.n_top[q] == table[0].sum()
        assert found.right_in_top[q] == table[0, 0]
        assert folds.odds_ratio[q] == pytest.approx(min(ratio, 1e9))
        assert folds.infinite[q] == np.isinf(ratio)
        fisher = stats.fisher_exact(table, alternative="greater").pvalue
        assert folds.p_value[q] == pytest.approx(fisher)
        assert folds.log_odds[q] == pytest.approx(
            np.log(np.prod(np.diag(table) + 0.5) / np.prod(np.diag(table[::-1]) + 0.5))
        )


def test_blocks_change_nothing(scores):
    for block in (N, 17):
        other = score_queries(PROFILES, RELATION, ks=(1, 7), block=block)
        for name in ("ap", "ap_interpolated", "first_rank", "right_in_top", "precision"):
            np.testing.assert_allclose(
                getattr(other, name), getattr(scores, name), rtol=2e-6, err_msg=name
            )


def test_invariances(scores):
    rng = np.random.default_rng(1)
    turn = np.linalg.qr(rng.normal(size=(12, 12)))[0]
    scale = rng.uniform(0.1, 10, (N, 1))
    moved = score_queries((PROFILES * scale) @ turn, RELATION, ks=(1, 7))
    np.testing.assert_allclose(moved.ap, scores.ap, rtol=1e-4)
    order = rng.permutation(N)
    shuffled = shared_labels(["|".join(NAMES[i]) for i in order])
    mixed = score_queries(PROFILES[order], shuffled, ks=(1, 7))
    np.testing.assert_allclose(mixed.ap, scores.ap[order], rtol=1e-5)


def test_queries_and_candidates_are_masks(scores):
    keep = np.arange(N) % 3 > 0
    found = score_queries(PROFILES, RELATION, queries=keep, candidates=keep)
    alone = score_queries(
        PROFILES[keep], shared_labels(["|".join(NAMES[i]) for i in np.flatnonzero(keep)])
    )
    np.testing.assert_array_equal(found.query, np.flatnonzero(keep))
    np.testing.assert_allclose(found.ap, alone.ap, rtol=1e-5)
    np.testing.assert_array_equal(found.n_candidates, keep.sum() - 1)
    assert not np.array_equal(found.ap, scores.ap[keep])


def test_many_right_answers_are_sorted():
    profiles, _ = screen(n=700)
    groups = np.arange(700) % 2  # 349 right answers each, more than are counted
    found = score_queries(profiles, same_group(groups), ks=(5,))
    for q in (0, 411):
        others = np.delete(np.arange(700), q)
        similarity = np.array([oracles.cosine(profiles[q], profiles[j]) for j in others])
        order = (groups[others] == groups[q])[np.argsort(-similarity)].astype(int).tolist()
        assert found.ap[q] == pytest.approx(oracles.average_precision(order), abs=1e-4)


def test_mean_curve_is_of_queries_with_enough_right_answers(scores):
    lists = list(oracles.rank_lists(PROFILES.astype(float), NAMES))
    curves = []
    for similarity, relevant in lists:
        if sum(relevant) >= 2:
            points = oracles.thresholds(similarity, relevant)
            curves.append(
                [
                    max(p for r, p in points if r >= max(i / 100 * sum(relevant) - 1e-9, 1))
                    for i in range(0, 101, 25)
                ]
            )
    np.testing.assert_allclose(scores.precision[::25], np.mean(curves, 0), rtol=1e-5)
    np.testing.assert_allclose(scores.recall[[0, 50, 100]], [0, 0.5, 1])


def test_strict_scores(scores):
    found = evaluate_retrieval(PROFILES, RELATION, ks=(1, 7))
    many, some = scores.n_right >= 2, scores.n_right >= 1
    assert found.map == pytest.approx(scores.ap[many].mean())
    assert found.map_interpolated == pytest.approx(scores.ap_interpolated[many].mean())
    assert found.map <= found.map_interpolated
    assert found.precision_at_k[7] == pytest.approx(scores.precision_at[7][some].mean())
    assert found.n_queries["map"] == many.sum()
    assert found.n_queries["precision_at_k"] == some.sum() < N
    folds = enrichment(scores, infinite_value=float(N))
    assert found.folds_of_enrichment == pytest.approx(np.nanmean(folds.odds_ratio[some]))
    assert found.folds_median == np.median(folds.odds_ratio[some])
    # 1 % of 219 candidates are 2 places; profiles without a partner (the first one) never count.
    assert found.hits_top1pct == (scores.first_rank <= 2.19).sum()
    assert set(found.definitions) == set(found.n_queries)


def test_notebook_protocol_differs_where_it_should(scores):
    relation = moshkov2024_labels(["|".join(names) for names in NAMES])
    np.testing.assert_array_equal(relation.dense(), RELATION.dense())  # no special characters
    strict = evaluate_retrieval(PROFILES, RELATION)
    notebooks = evaluate_retrieval(PROFILES, relation, protocol="moshkov2024")
    assert notebooks.map == strict.map
    alone = int((scores.n_right == 0).sum())
    assert alone > 10
    assert notebooks.hits_top1pct == strict.hits_top1pct + alone
    lists = [x for x in oracles.rank_lists(PROFILES.astype(float), NAMES) if sum(x[1]) >= 2]
    curves = [oracles.notebook_curve(s, r, N) for s, r in lists]
    assert notebooks.map_interpolated == pytest.approx(np.mean(curves), rel=1e-5)
    np.testing.assert_allclose(notebooks.precision, np.mean(curves, 0), rtol=1e-4)


def test_hits_of_wells_by_hand():
    # Treatment 0 has wells 0, 1 that are neighbours; 1 has wells 2, 3 that are far apart; the
    # 200 others stand between them.
    angle = np.concatenate([[0.0, 0.001, 1.0, 2.0], np.linspace(1.2, 1.9, 200)])
    profiles = np.stack([np.cos(angle), np.sin(angle)], 1)
    treatments = np.concatenate([[0, 0, 1, 1], np.arange(2, 202)])
    found = score_queries(profiles, same_group(treatments), queries=treatments < 2)
    for protocol in ("strict", "moshkov2024"):
        hit = top_hits(found, treatments=treatments, protocol=protocol, level="well")
        np.testing.assert_array_equal(hit, [True, False])
    own = np.arange(204)[:, None]
    own[1] = 0  # both wells of treatment 0 are one well: its images may not find each other
    found = score_queries(
        profiles, same_group(treatments), queries=treatments < 2, exclude=own, ties="pessimistic"
    )
    np.testing.assert_array_equal(found.n_right, [0, 0, 1, 1])
    np.testing.assert_array_equal(top_hits(found, treatments=treatments), [False, False])


def test_duplicated_profiles_give_no_reward_for_being_equal():
    profiles = np.tile(np.array([[1.0, 2.0, -1.0]]), (50, 1))
    relation = same_group(np.arange(50) // 5)
    found = score_queries(profiles, relation)
    np.testing.assert_allclose(found.ap, 4 / 49, rtol=1e-5)
    np.testing.assert_array_equal(found.n_top, 0)
    result = evaluate_retrieval(profiles, relation)
    assert np.isnan(result.folds_of_enrichment)
    assert result.hits_top1pct == 0
    optimistic = score_queries(profiles, relation, ties="optimistic")
    np.testing.assert_allclose(optimistic.ap, 1)


def test_a_perfect_screen():
    profiles = np.repeat(np.eye(8), 3, 0)
    result = evaluate_retrieval(profiles, same_group(np.arange(24) // 3))
    assert result.map == result.map_interpolated == result.precision_at_k[1] == 1
    assert result.hits_top1pct == 24
    np.testing.assert_allclose(result.precision, 1)


def test_neighbours_equal_loops():
    found = nearest_neighbours(PROFILES, exclude=WELLS, block=50)
    unit = PROFILES / np.linalg.norm(PROFILES, axis=1, keepdims=True)
    similarity = unit @ unit.T
    similarity[WELLS == WELLS.T] = -2
    np.testing.assert_array_equal(found.nearest, similarity.argmax(1))
    np.testing.assert_allclose(found.similarity, similarity.max(1), rtol=1e-5)
    right = [bool(set(NAMES[q]) & set(NAMES[j])) for q, j in enumerate(found.nearest)]
    labelled = np.array([bool(names) for names in NAMES])
    accuracy = neighbour_accuracy(found, RELATION)
    assert accuracy.n_queries == labelled.sum() < N
    assert accuracy.n_right == np.sum(right)
    assert accuracy.accuracy == pytest.approx(np.sum(right) / labelled.sum())


def test_tied_neighbours_count_with_their_share_in_any_order():
    profiles = np.array([[1.0, 0], [1, 0], [2, 0], [0, 1], [0, 3], [1, 1]])
    labels = np.array([0, 0, 1, 1, 1, 2])
    # 0: of 1 (right) and 2; 1 likewise; 2: of 0 and 1, both wrong; 3 and 4 find each other;
    # 5 is as near to all others, none of them right
    shares = [0.5, 0.5, 0, 1, 1, 0]
    for order in (np.arange(6), np.array([2, 5, 0, 4, 3, 1])):
        found = nearest_neighbours(profiles[order], block=4)
        np.testing.assert_array_equal(found.tied.sum(1), np.array([2, 2, 2, 1, 1, 5])[order])
        names = labels[order]
        right = tied_share(found, lambda a, b, names=names: names[a] == names[b])
        np.testing.assert_allclose(right, np.array(shares)[order])
        accuracy = neighbour_accuracy(found, same_group(labels[order]))
        assert (accuracy.n_right, accuracy.n_queries) == (3, 6)
    alike = nearest_neighbours(np.ones((5, 3)))
    assert neighbour_accuracy(alike, same_group(np.array([0, 1, 1, 1, 2]))).n_right == 3 * 0.5


def test_neighbours_without_candidates():
    found = nearest_neighbours(PROFILES[:3], exclude=np.array([[0, 5], [0, 6], [1, 6]]))
    np.testing.assert_array_equal(found.nearest, [2, -1, 0])  # NSCB: one shared code suffices
    assert np.isnan(found.similarity[1])
    assert np.isnan(tied_share(found, lambda a, b: a < b)).tolist() == [False, True, False]
    assert neighbour_accuracy(found, same_group(np.array([0, 0, 0]))).n_queries == 2
    nobody = nearest_neighbours(PROFILES[:1])
    assert np.isnan(neighbour_accuracy(nobody, same_group(np.array([0]))).accuracy)


def test_sweep_keeps_the_whole_table():
    variants = ((None, PROFILES), (1.0, PROFILES + 3), (2.0, PROFILES))
    rows = sweep(iter(variants), lambda x: evaluate_retrieval(x, RELATION))
    assert [row.setting for row in rows] == [None, 1.0, 2.0]
    assert rows[0].scores.map == rows[2].scores.map > rows[1].scores.map
    assert best_of(rows).setting is None
    with pytest.raises(ValueError, match="no setting"):
        best_of([])


def test_errors_name_the_cause():
    bad = PROFILES.copy()
    bad[7, 2] = np.nan
    with pytest.raises(ValueError, match="1 of 220 profiles are not finite, the first is row 7"):
        score_queries(bad, RELATION)
    with pytest.raises(ValueError, match="relation is of 220"):
        score_queries(PROFILES[:9], RELATION)
    with pytest.raises((ValueError, TypeCheckError)):
        score_queries(PROFILES, RELATION, exclude=np.zeros((3, 1), int))
    with pytest.raises(ValueError, match="selects no profile"):
        score_queries(PROFILES, RELATION, queries=np.zeros(N, bool))
    with pytest.raises(ValueError, match="block"):
        score_queries(PROFILES, RELATION, block=0)
    with pytest.raises(ValueError, match="protocol must be one of"):
        evaluate_retrieval(PROFILES, RELATION, protocol="lenient")
    with pytest.raises(ValueError, match="level must be one of"):
        evaluate_retrieval(PROFILES, RELATION, level="cell")


def test_scikit_learn_agrees(scores):
    for q, (similarity, relevant) in enumerate(oracles.rank_lists(PROFILES.astype(float), NAMES)):
        if any(relevant):
            expected = average_precision_score(relevant, similarity)
            assert scores.ap[q] == pytest.approx(expected, rel=1e-5)


def test_copairs_agrees_without_ties(scores):
    codes = np.arange(N) // 4
    table = pd.DataFrame({"group": codes, "row": np.arange(N)})
    found = copairs_map.average_precision(
        table, PROFILES, ["group"], [], [], ["group"], progress_bar=False
    )
    ours = score_queries(PROFILES, same_group(codes)).ap
    np.testing.assert_allclose(ours, found["average_precision"], atol=1e-6)
