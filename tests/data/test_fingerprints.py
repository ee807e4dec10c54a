"""Morgan fingerprints and descriptors against RDKit's older interfaces, and their edges."""

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import Descriptors, rdFingerprintGenerator, rdMolDescriptors

from cellml.data.fingerprints import (
    Fingerprints,
    descriptor_names,
    fill_missing,
    rdkit_descriptors,
    structure_fingerprints,
)
from cellml.data.molecule_properties import N_PROPERTIES, PROPERTIES, STEPS
from cellml.data.molecules import Rejected

SMILES = ["CCO", "C(", "C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O", "", "[Na+].[Cl-]", "C" * 300]


def environments(smiles, radius, chirality=False):
    """Hashes of all atom environments and how often each occurs, by another interface of RDKit."""
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=radius, includeChirality=chirality)
    return generator.GetSparseCountFingerprint(Chem.MolFromSmiles(smiles)).GetNonzeroElements()


@pytest.mark.parametrize(("radius", "size"), [(0, 64), (2, 2048), (3, 1000)])
@pytest.mark.parametrize("chirality", [False, True])
def test_bits_and_counts_are_folded_environments(radius, size, chirality):
    options = {"radius": radius, "size": size, "chirality": chirality}
    bits = structure_fingerprints(SMILES, **options)
    counts = structure_fingerprints(SMILES, counts=True, **options)
    assert bits.rows.tolist() == counts.rows.tolist() == [0, 2, 3, 5, 6]
    assert bits.rejected == [
        Rejected(1, "C(", "not a SMILES: syntax error"),
        Rejected(4, "", "empty"),
    ]
    for row, place in enumerate(bits.rows):
        expected = np.zeros(size, np.int64)
        for environment, count in environments(SMILES[place], radius, chirality).items():
            expected[environment % size] += count
        np.testing.assert_array_equal(counts.values[row], np.minimum(expected, 255))
        np.testing.assert_array_equal(bits.values[row], expected > 0)
    assert counts.values[-1].max() == 255  # 298 alike, and uint8 ends there


def test_kinds_lie_side_by_side_each_as_rdkit_makes_it():
    options = {"size": 256, "counts": True}
    kinds = "torsion+morgan+atom_pair"
    found = structure_fingerprints(SMILES[2:], kinds=kinds, chirality=True, **options)
    expected = [
        rdFingerprintGenerator.GetTopologicalTorsionGenerator(fpSize=256),
        rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=256, includeChirality=True),
        rdFingerprintGenerator.GetAtomPairGenerator(fpSize=256),
    ]
    molecules = [Chem.MolFromSmiles(SMILES[2:][row]) for row in found.rows]
    for i, each in enumerate(expected):
        rows = np.stack([each.GetCountFingerprintAsNumPy(m) for m in molecules])
        np.testing.assert_array_equal(found.values[:, 256 * i : 256 * (i + 1)], rows.clip(max=255))
    assert structure_fingerprints(["C("], kinds="torsion+morgan", size=8).values.shape == (0, 16)
    for wrong in ("", "ecfp", "morgan+morgan", "morgan,torsion"):
        with pytest.raises(ValueError, match="of morgan, atom_pair, torsion, properties, joined"):
            structure_fingerprints(["C"], kinds=wrong)


def test_properties_set_a_bit_for_every_step_that_they_reach():
    smiles = ["CCCCCCCC", "OC(=O)CN", "[Fe+2]", "CC(=O)Oc1ccccc1C(=O)O"]
    size = N_PROPERTIES * STEPS + 5
    found = structure_fingerprints(smiles, kinds="properties", size=size, counts=True).values
    assert set(np.unique(found)) == {0, 1}
    assert not found[:, -5:].any()
    steps = found[:, :-5].reshape(4, N_PROPERTIES, STEPS).astype(int)
    assert (np.diff(steps, axis=2) <= 0).all()  # from the first on, without a gap
    level = steps.sum(axis=2)
    logp, tpsa = (list(PROPERTIES).index(name) for name in ("CrippenClogP", "tpsa"))
    for row in (0, 1, 3):
        molecule = Chem.MolFromSmiles(smiles[row])
        for place, value in (
            (logp, rdMolDescriptors.CalcCrippenDescriptors(molecule)[0]),
            (tpsa, rdMolDescriptors.CalcTPSA(molecule)),
        ):
            low, high = list(PROPERTIES.values())[place]
            expected = np.clip(np.floor((value - low) / (high - low) * STEPS), 0, STEPS)
            assert level[row, place] == expected
    assert level[0, logp] > level[3, logp] > level[1, logp]
    # fewer bits: fewer steps; and beside other kinds
    few = structure_fingerprints(smiles, kinds="morgan+properties", size=N_PROPERTIES * 2).values
    two = few[:, N_PROPERTIES * 2 :].reshape(4, N_PROPERTIES, 2).sum(axis=2)
    assert (two <= level).all()
    with pytest.raises(ValueError, match=f"size 64: at least 0 and {N_PROPERTIES} expected"):
        structure_fingerprints(smiles, kinds="properties", size=64)


def test_chirality_tells_enantiomers_apart_only_when_asked():
    plain = structure_fingerprints(SMILES[2:4]).values
    chiral = structure_fingerprints(SMILES[2:4], chirality=True).values
    assert (plain[0] == plain[1]).all()
    assert (chiral[0] != chiral[1]).any()


def test_largest_fragment_and_processes(monkeypatch):
    salt = structure_fingerprints(["[Na+].CC(=O)[O-]"], largest_fragment=True).values
    np.testing.assert_array_equal(salt, structure_fingerprints(["CC(=O)[O-]"]).values)
    monkeypatch.setattr("cellml.data.molecule_chunks.CHUNK", 3)
    calls = []
    there = structure_fingerprints(SMILES, workers=2, progress=lambda *n: calls.append(n))
    here = structure_fingerprints(SMILES)
    assert calls == [(0, 7), (3, 7), (6, 7), (7, 7)]
    np.testing.assert_array_equal(there.values, here.values)
    assert there.rejected == here.rejected


def test_nothing_usable_gives_no_rows():
    found = structure_fingerprints(["", "?"], size=16)
    assert isinstance(found, Fingerprints)
    assert found.values.shape == (0, 16)
    assert found.values.dtype == np.uint8
    assert rdkit_descriptors([]).values.shape == (0, len(descriptor_names()))


def test_descriptors_are_those_of_rdkit_with_gaps_reported():
    smiles = ["CC(=O)Oc1ccccc1C(=O)O", "(", "[Fe+2]", "*CC"]
    found = rdkit_descriptors(smiles)
    assert found.rows.tolist() == [0, 2, 3]
    assert [one.row for one in found.rejected] == [1]
    aspirin = Chem.MolFromSmiles(smiles[0])
    column = {name: i for i, name in enumerate(found.names)}
    for name, value in {
        "MolLogP": rdMolDescriptors.CalcCrippenDescriptors(aspirin)[0],
        "TPSA": rdMolDescriptors.CalcTPSA(aspirin),
        "HeavyAtomMolWt": Descriptors.HeavyAtomMolWt(aspirin),
        "RingCount": 1,
    }.items():
        assert found.values[0, column[name]] == pytest.approx(value, rel=1e-6)
    gaps = np.isnan(found.values)
    assert found.missing == {
        name: int(gaps[:, i].sum()) for name, i in column.items() if gaps[:, i].any()
    }
    assert found.missing
    assert not np.isinf(found.values).any()


def test_missing_values_are_filled_from_the_training_rows():
    nan = np.nan
    training = np.array([[1, nan, 5], [3, nan, 7], [8, nan, nan]], np.float32)
    test = np.array([[nan, nan, nan], [4, 2, 1]], np.float32)
    np.testing.assert_array_equal(fill_missing(test, training), [[3, 0, 6], [4, 2, 1]])


@pytest.mark.parametrize("options", [{"radius": -1}, {"size": 0}, {"workers": 0}])
def test_impossible_options_are_refused(options):
    with pytest.raises(ValueError, match="expected"):
        structure_fingerprints(["C"], **options)
