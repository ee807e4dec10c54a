import numpy as np
import pytest

from cellml.data.pains import find_pains
from cellml.data.scaffolds import inchikey_skeletons, murcko_scaffolds
from cellml.data.smiles_processes import map_smiles
from cellml.screening.leakage import leakage_report
from cellml.screening.splits import codes_of, grouped_folds, random_folds

PUBLISHED_NUMBER = np.array([2, 1, 0, 4, 3])
"""Numbers under which the study published the folds, in the order in which they are filled."""


@pytest.fixture(scope="module")
def study(shared_data):
    folder = shared_data / "activity" / "moshkov_natcomm2023"
    smiles = (folder / "assay_data" / "smiles.txt").read_text().split()[1:]
    assert len(smiles) == 16_978
    return folder, smiles


def test_the_studys_scaffold_folds_are_made_again(study):
    folder, smiles = study
    kept = np.load(folder / "misc" / "compounds16978to16170.npy")
    rows = np.load(folder / "splitting" / "scaffold_based_split.npz")["features"]
    published = np.empty(len(kept), int)
    for fold, members in enumerate(rows):
        published[members] = fold
    scaffolds = codes_of(murcko_scaffolds([smiles[i] for i in kept.tolist()]))
    assert scaffolds.max() + 1 == 3_262
    folds = grouped_folds(scaffolds, n_folds=5)
    np.testing.assert_array_equal(PUBLISHED_NUMBER[folds], published)
    assert np.bincount(folds).tolist() == [3_234] * 5
    found = leakage_report(folds, {"scaffold": scaffolds})
    assert found.is_safe
    assert (
        leakage_report(random_folds(len(kept)), {"s": scaffolds}).identities["s"].n_spanning > 900
    )


def test_the_studys_pains_are_found_and_no_others(study):
    """All 16,978 compounds: a minute of a processor."""
    folder, smiles = study
    published = np.load(folder / "misc" / "compound_analysis.npz")
    assert published["pains_overall"].size == 768
    found = find_pains(smiles, workers=2)
    np.testing.assert_array_equal(
        np.flatnonzero(found.any_family), np.sort(published["pains_overall"])
    )
    assert not found.invalid.any()
    for family, name in enumerate("abc"):
        expected = np.sort(published[f"pains_{name}"])
        np.testing.assert_array_equal(np.flatnonzero(found.families[:, family]), expected)


def test_pains_by_name_and_what_cannot_be_read():
    # a quinone (family A), aspirin, and no molecules
    found = find_pains(["O=C1C=CC(=O)C=C1", "CC(=O)Oc1ccccc1C(=O)O", "C1CC", ""])
    assert found.families.tolist() == [[True, False, False], *[[False] * 3] * 3]
    assert found.alerts == (("quinone_A(370)",), (), (), ())
    assert found.invalid.tolist() == [False, False, True, True]


def test_scaffolds_of_rings_chains_and_of_nothing():
    smiles = ["CCc1ccccc1", "CCO", "not a molecule", "", "[CH3:7][C@H]1CCCC[C@@H]1O"]
    found = murcko_scaffolds([*smiles, "C[C@@H]1CCCC[C@@H]1O"])
    assert found == ["c1ccccc1", "", None, None, "C1CCCCC1", "C1CCCCC1"]


def test_skeletons_do_not_know_stereochemistry():
    left, right, other, broken = inchikey_skeletons(
        ["C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O", "CC(N)C(=O)N", "C1CC"]
    )
    assert left == right == "QNAYBMKLOCPYGJ"
    assert other != left
    assert broken is None


def test_processes_keep_the_order_and_report():
    smiles = [("C" * (1 + i % 7)) + "c1ccccc1" for i in range(1200)]
    seen = []
    found = map_smiles(str_lengths, smiles, workers=2, progress=lambda *x: seen.append(x))
    assert found == [len(s) for s in smiles]
    assert seen == [(500, 1200), (1000, 1200), (1200, 1200)]
    assert map_smiles(str_lengths, [], workers=2) == []
    with pytest.raises(ValueError, match="workers"):
        map_smiles(str_lengths, smiles, workers=0)


def str_lengths(smiles):
    return [len(s) for s in smiles]
