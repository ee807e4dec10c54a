import numpy as np
import pytest

from cellml.screening.filters import assay_clusters, choose_assays, filter_screen


def screen():
    """Twenty compounds; assays 1 and 2 share all hits, 3 has none, 5 loses its one to PAINS."""
    rng = np.random.default_rng(0)
    labels = np.where(rng.random((20, 7)) < 0.3, np.nan, 0.0)
    for assay, hits in {
        0: [0, 1, 2],
        1: [3, 4, 5],
        2: [3, 4, 5],
        4: [6, 7, 2],
        5: [9],
        6: [10],
    }.items():
        labels[hits, assay] = 1
    labels[11, [0, 1, 2, 4, 6]] = 1  # hits wherever it can
    return labels


def test_every_step_says_what_it_took():
    labels = screen()
    pains = np.zeros(20, bool)
    pains[[9, 15]] = True
    found = filter_screen(labels, pains=pains, frequent=0.6)
    steps = {step.name: step for step in found.steps}
    assert list(steps) == ["pains", "no_hits", "redundant", "frequent_hitters", "no_hits_left"]
    assert steps["pains"].compounds.tolist() == [9, 15]
    assert steps["no_hits"].assays.tolist() == [3, 5]
    assert len(steps["redundant"].assays) == 1
    assert steps["redundant"].assays[0] in (1, 2)
    assert steps["frequent_hitters"].compounds.tolist() == [11]
    assert steps["no_hits_left"].assays.size == 0
    gone = np.concatenate([s.compounds for s in found.steps])
    np.testing.assert_array_equal(np.sort(np.append(gone, found.compounds)), np.arange(20))
    gone = np.concatenate([s.assays for s in found.steps])
    np.testing.assert_array_equal(np.sort(np.append(gone, found.assays)), np.arange(7))
    left = labels[np.ix_(found.compounds, found.assays)]
    last = found.steps[-1]
    assert (last.n_compounds, last.n_assays) == left.shape
    assert last.n_readouts == (~np.isnan(left)).sum()
    assert last.n_hits == (left == 1).sum()
    assert (left == 1).any(0).all()
    assert found.clusters[1] == found.clusters[2] >= 0
    assert (found.clusters[[3, 5]] == -1).all()


def test_an_assay_that_lived_on_frequent_hitters_goes_last():
    labels = np.zeros((6, 3))
    labels[0] = 1  # the only hit of assay 2
    labels[1, 0] = labels[2, 0] = labels[3, 1] = labels[4, 1] = 1
    found = filter_screen(labels, frequent=1.0)
    assert found.steps[-2].compounds.tolist() == [0]
    assert found.steps[-1].assays.tolist() == [2]
    assert found.assays.tolist() == [0, 1]


def test_the_seed_decides_and_repeats():
    labels = np.zeros((30, 12))
    labels[:10, :10] = 1  # ten assays with the same hits
    labels[10:20, 10] = labels[20:, 11] = 1
    kept = {s: tuple(filter_screen(labels, seed=s, frequent=1.0).assays.tolist()) for s in range(8)}
    assert kept[3] == tuple(filter_screen(labels, seed=3, frequent=1.0).assays.tolist())
    assert len(set(kept.values())) > 1
    assert all(len(assays) == 5 and assays[-2:] == (10, 11) for assays in kept.values())


def test_clusters_follow_the_jaccard_index():
    hits = np.zeros((20, 4), bool)
    hits[:8, 0] = hits[:9, 1] = True  # 8 / 9
    hits[5:13, 2] = True  # with assay 0: 3 / 13
    hits[13:, 3] = True
    np.testing.assert_array_equal(assay_clusters(hits), [0, 0, 1, 2])
    np.testing.assert_array_equal(assay_clusters(hits, jaccard=0.9), [0, 1, 2, 3])
    np.testing.assert_array_equal(assay_clusters(hits[:, :1]), [0])
    same = np.ones((5, 3), bool)
    np.testing.assert_array_equal(assay_clusters(same), [0, 0, 0])


def test_paper_lets_small_clusters_vanish_and_reads_one_place_off():
    clusters = np.array([0, 1, 1, 2, 3, 3, 3, 3, 4])
    kept = choose_assays(clusters, seed=0)
    assert {0, 3, 8} <= set(kept.tolist())
    assert np.isin(clusters[kept], [1]).sum() == 1
    assert np.isin(clusters[kept], [3]).sum() == 1
    paper = choose_assays(clusters, seed=0, paper=True)
    chosen = {0, 3, 8} | {int(np.setdiff1d(kept, [0, 3, 8, 1, 2])[0])}
    assert len(paper) == 3  # 0 reads the SMILES and is lost, of 1 and 2 none was chosen
    assert {2, 7} <= set(paper.tolist())
    assert chosen & {4, 5, 6, 7}


def test_paper_counts_hits_and_not_shares():
    rng = np.random.default_rng(0)
    labels = np.zeros((80, 40))
    for assay in range(40):
        labels[rng.choice(np.arange(2, 80), 3, replace=False), assay] = 1
    labels[0, :31] = labels[1, :30] = 1
    ours, paper = filter_screen(labels), filter_screen(labels, paper=True)
    assert {0, 1} <= set(ours.steps[-2].compounds.tolist())
    assert 1 not in paper.steps[-2].compounds
    assert paper.steps[-2].rule == "compounds with more than 30 hits"


def test_nothing_left_and_wrong_values():
    empty = filter_screen(np.zeros((3, 2)))
    assert empty.assays.size == 0
    assert [s.n_assays for s in empty.steps] == [0, 0, 0]
    with pytest.raises(ValueError, match=r"labels\[1, 0\] is 3"):
        filter_screen(np.array([[0.0], [3.0]]))
    with pytest.raises(ValueError, match="jaccard"):
        filter_screen(np.zeros((3, 2)), jaccard=1.5)
