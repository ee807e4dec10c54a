"""Expansion of codes to Chemprop's features: hand-made codes, tables, jit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rdkit import Chem

from cellml.ops.atom_codes import ATOM_COLUMNS, ATOMIC_WEIGHTS, BOND_COLUMNS
from cellml.ops.molecule_features import (
    PRESETS,
    expand_atoms,
    expand_bonds,
    hot_atom_features,
    preset_named,
)

EVERY_CODE = np.arange(-128, 128).astype(np.int8)


def codes_of(columns, **values):
    """Rows of codes, all zero but for the named columns."""
    length = max(len(np.atleast_1d(value)) for value in values.values())
    codes = np.zeros((length, len(columns)), np.int8)
    for name, value in values.items():
        codes[:, columns.index(name)] = value
    return jnp.asarray(codes)


@pytest.mark.parametrize(("name", "atoms"), [("chemprop_v1", 133), ("chemprop_v2", 72)])
def test_sizes_are_those_of_chemprop(name, atoms):
    preset = PRESETS[name]
    assert (preset.atom_size, preset.bond_size) == (atoms, 14)
    assert expand_atoms(jnp.zeros((3, 9), jnp.int8), name).shape == (3, atoms)
    assert expand_bonds(jnp.zeros((3, 4), jnp.int8), name).shape == (3, 14)


@pytest.mark.parametrize("name", PRESETS)
def test_each_group_is_a_one_hot_of_its_column_for_every_code(name):
    first = 0
    for group in PRESETS[name].atoms:
        # There are no others: the mass is looked up by it.
        values = EVERY_CODE if group.column != "atomic_number" else np.arange(256) % 119
        features = np.asarray(expand_atoms(codes_of(ATOM_COLUMNS, **{group.column: values}), name))
        for value, row in zip(values, features, strict=True):
            expected = np.zeros(group.size)
            if value in group.choices:
                expected[group.choices.index(value)] = 1
            elif group.unknown:
                expected[-1] = 1
            np.testing.assert_array_equal(row[first : first + group.size], expected)
        first += group.size


def test_bonds_of_unknown_type_get_no_type_and_others_one():
    codes = codes_of(BOND_COLUMNS, type=[1, 2, 3, 12, 17, 0], ring=1, stereo=[0, 5, 6, 0, 0, 0])
    hot = [np.flatnonzero(row).tolist() for row in np.asarray(expand_bonds(codes, "chemprop_v2"))]
    assert hot == [[1, 6, 7], [2, 6, 12], [3, 6, 13], [4, 6, 7], [6, 7], [6, 7]]


def test_mass_is_that_of_the_element_shifted_for_isotopes():
    codes = codes_of(
        ATOM_COLUMNS, atomic_number=[0, 6, 6, 92], mass_shift=[0, 0, 1, -3],
        mass_shift_256ths=[0, 0, -2, 2],
    )  # fmt: skip
    mass = np.asarray(expand_atoms(codes, "chemprop_v1"))[:, -1]
    expected = [0.0, 0.12011, 0.01 * (13.011 - 2 / 256), 0.01 * (235.029 + 2 / 256)]
    np.testing.assert_allclose(mass, expected, rtol=1e-6)


def test_weights_are_those_of_the_installed_rdkit():
    table = Chem.GetPeriodicTable()
    expected = [table.GetAtomicWeight(number) for number in range(119)]
    np.testing.assert_allclose(ATOMIC_WEIGHTS, expected, atol=1e-9)


def test_hot_features_point_at_the_ones():
    codes = codes_of(ATOM_COLUMNS, atomic_number=[6, 53, 0], aromatic=[1, 0, 0])
    hot = np.asarray(hot_atom_features(codes, "chemprop_v2"))
    features = np.asarray(expand_atoms(codes, "chemprop_v2"))
    assert hot[:, -1].tolist() == [70, 72, 72]  # 72: none, as not aromatic
    for row, places in zip(features, hot, strict=True):
        ones = np.zeros(73)
        ones[places] = 1
        np.testing.assert_array_equal(row[:-1], ones[:71])


def test_jit_is_eager():
    rng = np.random.default_rng(0)
    codes = rng.integers(-128, 128, (20, 9)).astype(np.int8)
    codes[:, 0] = rng.integers(0, 119, 20)
    jitted = jax.jit(expand_atoms, static_argnames="preset")(jnp.asarray(codes), "chemprop_v1")
    np.testing.assert_allclose(jitted, expand_atoms(jnp.asarray(codes), "chemprop_v1"), rtol=1e-6)


def test_no_atoms_give_no_rows():
    assert expand_atoms(jnp.zeros((0, 9), jnp.int8), "chemprop_v1").shape == (0, 133)


def test_wrong_use_is_named():
    with pytest.raises(ValueError, match=r"chemprop_v3.*chemprop_v1, chemprop_v2"):
        preset_named("chemprop_v3")
    with pytest.raises(ValueError, match="4 columns, expected atomic_number"):
        expand_atoms(jnp.zeros((2, 4), jnp.int8), "chemprop_v1")
