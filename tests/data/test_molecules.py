"""SMILES to codes: Chemprop's vectors, odd molecules, rejects, the cache, processes."""

import csv
import hashlib

import jax.numpy as jnp
import numpy as np
import pytest
import rdkit
from rdkit import Chem

from cellml.data import molecule_cache, molecules
from cellml.data.molecule_codes import featurise, parse_molecule
from cellml.data.molecules import Rejected, read_molecules, require_all, write_rejected
from cellml.errors import UserError
from cellml.ops.molecule_features import expand_atoms, expand_bonds

# Chemprop 2.3.1 with RDKit 2026.9.1: for each atom the features that are 1, then the mass; for
# each bond likewise.
GOLDEN = {
    ("C[C@H](N)C(=O)[O-]", "chemprop_v1"): (
        [
            [5, 105, 112, 114, 122, 127, 0.12011],
            [5, 105, 112, 116, 120, 127, 0.12011],
            [6, 104, 112, 114, 121, 127, 0.14007],
            [5, 104, 112, 114, 119, 126, 0.12011],
            [7, 102, 112, 114, 119, 126, 0.15999],
            [7, 102, 108, 114, 119, 126, 0.15999],
        ],
        [[1, 7], [1, 7], [1, 7], [2, 5, 7], [1, 5, 7]],
        [(0, 1), (1, 2), (1, 3), (3, 4), (3, 5)],
    ),
    ("F/C=C/[13CH2]I", "chemprop_v2"): (
        [
            [8, 39, 49, 51, 56, 66, 0.18998],
            [5, 41, 49, 51, 57, 64, 0.12011],
            [5, 41, 49, 51, 57, 64, 0.12011],
            [5, 42, 49, 51, 58, 66, 0.13003355],
            [36, 39, 49, 51, 56, 66, 1.26904],
        ],
        [[1, 7], [2, 10], [1, 7], [1, 7]],
        [(0, 1), (1, 2), (2, 3), (3, 4)],
    ),
    ("c1cc[nH]c1", "chemprop_v2"): (
        [
            [5, 41, 49, 51, 57, 64, 70, 0.12011],
            [5, 41, 49, 51, 57, 64, 70, 0.12011],
            [5, 41, 49, 51, 57, 64, 70, 0.12011],
            [6, 41, 49, 51, 57, 64, 70, 0.14007],
            [5, 41, 49, 51, 57, 64, 70, 0.12011],
        ],
        [[4, 5, 6, 7]] * 5,
        [(0, 1), (1, 2), (2, 3), (3, 4), (4, 0)],
    ),
    ("FS(F)(F)(F)(F)F", "chemprop_v1"): (
        [
            [8, 102, 112, 114, 119, 127, 0.18998],
            [15, 107, 112, 114, 119, 129, 0.32067],
            *[[8, 102, 112, 114, 119, 127, 0.18998]] * 5,
        ],
        [[1, 7]] * 6,
        [(0, 1), (1, 2), (1, 3), (1, 4), (1, 5), (1, 6)],
    ),
    ("[Na+].[Cl-]", "chemprop_v2"): (
        [[10, 38, 47, 51, 56, 62, 0.2299], [16, 38, 45, 51, 56, 66, 0.35453]],
        [],
        [],
    ),
    ("[NH3]->[Fe]", "chemprop_v1"): (
        [[6, 105, 112, 114, 122, 127, 0.14007], [25, 102, 112, 114, 119, 127, 0.55845]],
        [[7]],  # a dative bond has no type
        [(0, 1)],
    ),
    ("*", "chemprop_v2"): ([[37, 38, 49, 51, 56, 69, 0.0]], [], []),
    ("[235U]", "chemprop_v1"): ([[91, 101, 112, 114, 119, 130, 2.35043931]], [], []),
}
ODD = ["CCO", "", "C(", "CC(C)(C)(C)C", "  ", "[Na+].[Cl-]", "[He]", "CCO", "C" * 300, "not this"]


@pytest.mark.parametrize("preset", ["chemprop_v1", "chemprop_v2"])
def test_features_are_those_of_chemprop(preset):
    found = read_molecules([smiles for smiles, _ in GOLDEN]).molecules
    features = np.asarray(expand_atoms(jnp.asarray(found.atoms), preset))
    edges = np.asarray(expand_bonds(jnp.asarray(found.bonds), preset))
    for i, (key, (atoms, bonds, ends)) in enumerate(GOLDEN.items()):
        if key[1] != preset:
            continue
        own = features[slice(*found.atom_starts[i : i + 2])]
        assert [np.flatnonzero(row[:-1]).tolist() for row in own] == [row[:-1] for row in atoms]
        np.testing.assert_allclose(own[:, -1], [row[-1] for row in atoms], atol=2e-5)
        own = slice(*found.bond_starts[i : i + 2])
        assert [np.flatnonzero(row).tolist() for row in edges[own]] == bonds
        assert [tuple(pair) for pair in found.ends[own].tolist()] == ends


@pytest.mark.parametrize(
    ("preset", "digest"),
    [
        ("chemprop_v1", "387ecc7b8574f3f3f761036873aa1f7f7f6e8fad34289ac0849dab89f0aa9bf5"),
        ("chemprop_v2", "1bc16630e7e05368e57a48dc9812203dc4f6f7ee25828d5b572666e6f20a3cd2"),
    ],
)
def test_a_thousand_molecules_of_tox21_are_as_in_chemprop(preset, digest, shared_data):
    if rdkit.__version__ != "2026.09.1":
        pytest.skip(f"the digest was made with RDKit 2026.09.1, here is {rdkit.__version__}")
    path = shared_data / "activity" / "moleculenet" / "tox21.csv"
    with path.open(encoding="utf-8") as file:
        smiles = [row["smiles"] for row in csv.DictReader(file)][:1000]
    found = read_molecules(smiles).molecules
    assert len(found) == 1000
    atoms = np.asarray(expand_atoms(jnp.asarray(found.atoms), preset))
    bonds = np.asarray(expand_bonds(jnp.asarray(found.bonds), preset))
    made = hashlib.sha256()
    for i in range(len(found)):
        own = slice(*found.bond_starts[i : i + 2])
        both_ways = np.stack([found.ends[own], found.ends[own][:, ::-1]], axis=1).reshape(-1, 2).T
        made.update(atoms[slice(*found.atom_starts[i : i + 2]), :-1].astype(np.uint8).tobytes())
        made.update(np.repeat(bonds[own], 2, axis=0).astype(np.uint8).tobytes())
        made.update(both_ways.astype("<i4").tobytes())
    assert made.hexdigest() == digest
    assert float(atoms[:, -1].astype(np.float64).sum()) == pytest.approx(2525.97260618, rel=1e-6)
    assert found.nbytes <= 500 * len(found)


@pytest.mark.parametrize(
    "smiles",
    ["CN(=O)=O", "C[C@]12CC[C@H]1[13C@@H]2[2H]", "C/C=C\\C", "CC(F)Cl |wU:1.0|", "[H][H]", "B(O)O"],
)
def test_what_is_left_out_for_speed_is_zero(smiles):
    """Chirality, isotopes and stereo bonds are asked for only where the text tells of them."""
    found = read_molecules([smiles]).molecules
    molecule = Chem.MolFromSmiles(smiles)
    atoms, bonds = list(molecule.GetAtoms()), list(molecule.GetBonds())
    assert found.atoms[:, 3].tolist() == [int(atom.GetChiralTag()) for atom in atoms]
    assert found.atoms[:, 4].tolist() == [atom.GetTotalNumHs() for atom in atoms]
    assert (found.atoms[:, 7] != 0).tolist() == [atom.GetIsotope() != 0 for atom in atoms]
    assert found.bonds[:, 3].tolist() == [int(bond.GetStereo()) for bond in bonds]
    assert found.bonds[:, 2].tolist() == [bond.IsInRing() for bond in bonds]


def test_odd_molecules_are_read_or_listed_with_the_reason():
    found, rejected = read_molecules(ODD)
    assert found.rows.tolist() == [0, 5, 6, 7, 8]
    assert found.atom_counts.tolist() == [3, 2, 1, 3, 300]
    assert found.bond_counts.tolist() == [2, 0, 0, 2, 299]
    assert [(one.row, one.smiles) for one in rejected] == [(i, ODD[i]) for i in (1, 2, 3, 4, 9)]
    reasons = [one.reason for one in rejected]
    assert reasons[0] == reasons[3] == "empty"
    assert reasons[1] == reasons[4] == "not a SMILES: syntax error"
    assert "valence for atom # 1 C" in reasons[2]


def test_rejects_only_and_nothing_at_all():
    for smiles in (["", "x"], []):
        found, rejected = read_molecules(smiles)
        assert len(found) == len(found.atoms) == len(found.ends) == 0
        assert len(rejected) == len(smiles)


def test_largest_fragment_drops_the_counter_ion():
    salt = "[Na+].CC(=O)[O-]"
    assert read_molecules([salt]).molecules.atom_counts.tolist() == [5]
    found = read_molecules([salt], largest_fragment=True).molecules
    assert found.atoms[:, 0].tolist() == [6, 6, 8, 8]
    tie = parse_molecule("CC.OO.SS", largest_fragment=True).molecule
    assert Chem.MolToSmiles(tie) == "SS"  # as many atoms, but the heaviest


def test_a_molecule_can_have_too_many_atoms(monkeypatch):
    monkeypatch.setattr("cellml.data.molecule_codes.ATOMS_MAX", 2)
    assert read_molecules(["CCO"]).rejected == [
        Rejected(0, "CCO", "3 atoms, at most 2 are possible")
    ]


def test_take_is_reading_those_alone():
    smiles = ["CCO", "C", "c1ccccc1", "[Na+].[Cl-]"]
    places = np.array([2, 0, 0, 3])
    taken = read_molecules(smiles).molecules.take(places)
    expected = read_molecules([smiles[i] for i in places]).molecules
    assert taken.rows.tolist() == places.tolist()
    assert_same(taken, expected, but=("rows",))


def assert_same(one, other, but=()):
    for name in ("rows", "atoms", "bonds", "ends", "atom_starts", "bond_starts"):
        if name not in but:
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


def test_cache_gives_the_same_without_parsing_again(tmp_path, monkeypatch):
    fresh = read_molecules(ODD)
    first = read_molecules(ODD[:6], cache=tmp_path)
    assert first.rejected == [one for one in fresh.rejected if one.row < 6]
    seen = []
    monkeypatch.setattr(molecules, "featurise", lambda s, **k: seen.extend(s) or featurise(s, **k))
    more = read_molecules(ODD, cache=tmp_path)
    assert seen == ODD[6:7] + ODD[8:]  # CCO was there
    again = read_molecules(ODD[::-1], cache=tmp_path)
    assert len(seen) == 3
    assert_same(more.molecules, fresh.molecules)
    assert more.rejected == fresh.rejected
    assert_same(again.molecules, read_molecules(ODD[::-1]).molecules)
    assert len(list(tmp_path.rglob("*.parquet"))) == 2
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".")]


def test_cache_of_another_rdkit_or_of_fragments_is_not_read(tmp_path, monkeypatch):
    salt = ["[Na+].CC(=O)[O-]"]
    read_molecules(salt, cache=tmp_path)
    assert read_molecules(salt, cache=tmp_path, largest_fragment=True).molecules.atom_counts == [4]
    assert read_molecules(salt, cache=tmp_path).molecules.atom_counts == [5]
    monkeypatch.setattr(molecule_cache, "RDKIT_VERSION", "1999.1")
    read_molecules(salt, cache=tmp_path)
    assert len([path for path in tmp_path.iterdir() if path.name.startswith("rdkit-1999.1")]) == 1
    assert len(list(tmp_path.iterdir())) == 3


def test_a_killed_run_keeps_what_it_had_and_damage_is_mended(tmp_path, monkeypatch):
    smiles = ["C" * n for n in range(1, 8)]
    monkeypatch.setattr(molecules, "SAVED_EVERY", 1)
    monkeypatch.setattr("cellml.data.molecule_chunks.CHUNK", 2)

    def killed(done, total):
        if done == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read_molecules(smiles, cache=tmp_path, progress=killed)
    files = sorted(tmp_path.rglob("*.parquet"))
    assert len(files) == 2  # the third chunk was not written yet
    calls = []
    found = read_molecules(smiles, cache=tmp_path, progress=lambda *n: calls.append(n)).molecules
    assert calls == [(0, 3), (2, 3), (3, 3)]
    assert_same(found, read_molecules(smiles).molecules)
    files[0].write_bytes(b"damaged")
    assert_same(read_molecules(smiles, cache=tmp_path).molecules, found)
    assert files[0].stat().st_size > 100  # written anew


def test_processes_give_the_same(monkeypatch):
    monkeypatch.setattr("cellml.data.molecule_chunks.CHUNK", 4)
    here, there = read_molecules(ODD), read_molecules(ODD, workers=2)
    assert_same(here.molecules, there.molecules)
    assert here.rejected == there.rejected


def test_rejected_are_written_with_line_and_reason(tmp_path):
    rejected = read_molecules(['C"(', "CC", "", "C(C)(C)(C)(C)C"]).rejected
    write_rejected(tmp_path / "rejected.csv", rejected)
    lines = (tmp_path / "rejected.csv").read_text().splitlines()
    assert lines[0] == "row,line,smiles,reason"
    assert lines[1] == '0,2,"C""(",not a SMILES: syntax error'
    assert lines[2] == "2,4,,empty"
    assert len(lines) == 4
    write_rejected(tmp_path / "none.csv", [])
    assert (tmp_path / "none.csv").read_text() == "row,line,smiles,reason\n"


def test_strict_names_the_first():
    require_all([], "a.csv")
    with pytest.raises(UserError, match=r"a.csv, line 3: 'x' is no molecule .*; 2 such in all"):
        require_all(read_molecules(["C", "x", ""]).rejected, "a.csv")
