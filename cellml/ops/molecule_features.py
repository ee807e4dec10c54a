"""Atoms and bonds as small integer codes, and their expansion to Chemprop's one-hot features.

A batch carries int8 codes, 9 a heavy atom and 4 a bond; the float features (133 or 72 an atom) are
made on the device by a table lookup. Codes hold the chemistry itself, not positions, so the same
codes serve every preset.

Source: features of Chemprop v1 (Yang et al. 2019, JCIM 59:3370) and v2 (Heid et al. 2024, JCIM
64:9), as their programs compute them.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Int8, Int16

from cellml.ops.atom_codes import ATOM_COLUMNS, ATOMIC_WEIGHTS, BOND_COLUMNS

CODE_OFFSET = 128  # of the lookup table: code -128 is its entry 0

S, SP, SP2, SP3, SP2D, SP3D, SP3D2 = 1, 2, 3, 4, 5, 6, 7
SINGLE, DOUBLE, TRIPLE, AROMATIC = 1, 2, 3, 12


class OneHot(NamedTuple):
    """A group of features of which at most one is 1.

    Attributes:
      column: Name of the column of the codes.
      choices: The code of each feature, in order.
      unknown: Whether one more feature stands for every other code; without it they get none.
    """

    column: str
    choices: tuple[int, ...]
    unknown: bool = True

    @property
    def size(self) -> int:
        """Number of features."""
        return len(self.choices) + self.unknown


class FeaturePreset(NamedTuple):
    """Which features a model sees.

    Attributes:
      atoms: Groups of the atom features in order; the mass (u, times .01) follows as the last.
      bonds: Groups of the bond features in order, behind the first, which marks a missing bond
        and is always 0 here.
    """

    atoms: tuple[OneHot, ...]
    bonds: tuple[OneHot, ...]

    @property
    def atom_size(self) -> int:
        """Number of features of an atom."""
        return sum(group.size for group in self.atoms) + 1

    @property
    def bond_size(self) -> int:
        """Number of features of a bond."""
        return sum(group.size for group in self.bonds) + 1


def _preset(elements: tuple[int, ...], hybridizations: tuple[int, ...]) -> FeaturePreset:
    return FeaturePreset(
        atoms=(
            OneHot("atomic_number", elements),
            OneHot("total_degree", (0, 1, 2, 3, 4, 5)),
            OneHot("formal_charge", (-1, -2, 1, 2, 0)),
            OneHot("chiral_tag", (0, 1, 2, 3)),
            OneHot("hydrogens", (0, 1, 2, 3, 4)),
            OneHot("hybridization", hybridizations),
            OneHot("aromatic", (1,), unknown=False),
        ),
        bonds=(
            OneHot("type", (SINGLE, DOUBLE, TRIPLE, AROMATIC), unknown=False),
            OneHot("conjugated", (1,), unknown=False),
            OneHot("ring", (1,), unknown=False),
            OneHot("stereo", (0, 1, 2, 3, 4, 5)),
        ),
    )


PRESETS = {
    "chemprop_v1": _preset(tuple(range(1, 101)), (SP, SP2, SP3, SP3D, SP3D2)),
    "chemprop_v2": _preset((*range(1, 37), 53), (S, SP, SP2, SP2D, SP3, SP3D, SP3D2)),
}
"""133 and 72 features an atom, 14 a bond."""


def preset_named(name: str) -> FeaturePreset:
    """Returns a preset of `PRESETS`.

    Raises:
      ValueError: There is none of this name.
    """
    if name not in PRESETS:
        raise ValueError(f"preset {name!r}: expected one of {', '.join(PRESETS)}")
    return PRESETS[name]


def hot_atom_features(codes: Int8[Array, "v c"], preset: str) -> Int[Array, "v g"]:
    """Finds the features of each atom that are 1: columns of the matrix of `expand_atoms`.

    A linear layer may add up rows of its weights by these instead of multiplying.

    Args:
      codes: Columns as in `cellml.ops.atom_codes.ATOM_COLUMNS`.
      preset: Name of one of `PRESETS`.

    Returns:
      One feature a group, int32; the number of features where a group has none.

    Raises:
      ValueError: Unknown preset or wrong number of columns (at trace time).
    """
    spec = preset_named(preset)
    return _hot(codes, _table(spec.atoms, ATOM_COLUMNS, 0, spec.atom_size), ATOM_COLUMNS)


def expand_atoms(codes: Int8[Array, "v c"], preset: str) -> Float[Array, "v d"]:
    """Expands the codes of atoms to Chemprop's features.

    Args:
      codes: Columns as in `cellml.ops.atom_codes.ATOM_COLUMNS`.
      preset: Name of one of `PRESETS`.

    Returns:
      float32, zeros and ones and, in the last column, the mass in u times .01; that of an isotope
      is exact to 2e-5, others to rounding.

    Raises:
      ValueError: Unknown preset or wrong number of columns (at trace time).
    """
    hot = hot_atom_features(codes, preset)
    features = _multi_hot(hot, preset_named(preset).atom_size)
    weights = jnp.asarray(ATOMIC_WEIGHTS, jnp.float32)
    whole, rest = ATOM_COLUMNS.index("mass_shift"), ATOM_COLUMNS.index("mass_shift_256ths")
    mass = weights[codes[:, ATOM_COLUMNS.index("atomic_number")].astype(jnp.int32)]
    mass = mass + codes[:, whole].astype(jnp.float32) + codes[:, rest].astype(jnp.float32) / 256.0
    return jnp.concatenate([features[:, :-1], 0.01 * mass[:, None]], axis=1)


def expand_bonds(codes: Int8[Array, "e c"], preset: str) -> Float[Array, "e d"]:
    """Expands the codes of bonds to Chemprop's features.

    Args:
      codes: Columns as in `cellml.ops.atom_codes.BOND_COLUMNS`, one row a bond or a directed edge.
      preset: Name of one of `PRESETS`.

    Returns:
      float32, zeros and ones.

    Raises:
      ValueError: Unknown preset or wrong number of columns (at trace time).
    """
    spec = preset_named(preset)
    table = _table(spec.bonds, BOND_COLUMNS, 1, spec.bond_size)
    return _multi_hot(_hot(codes, table, BOND_COLUMNS), spec.bond_size)


@functools.cache
def _table(
    groups: tuple[OneHot, ...], columns: tuple[str, ...], first: int, none: int
) -> Int16[np.ndarray, "g n"]:
    """The feature of each group and code; row i belongs to group i, whose column is i as well."""
    assert [group.column for group in groups] == list(columns[: len(groups)])
    table = np.full((len(groups), 256), none, np.int16)
    for row, group in zip(table, groups, strict=True):
        if group.unknown:
            row[:] = first + len(group.choices)
        for place, code in enumerate(group.choices):
            row[code + CODE_OFFSET] = first + place
        first += group.size
    return table


def _hot(
    codes: Int8[Array, "n c"], table: Int16[np.ndarray, "g m"], columns: tuple[str, ...]
) -> Int[Array, "n g"]:
    if codes.shape[1] != len(columns):
        raise ValueError(f"codes have {codes.shape[1]} columns, expected {', '.join(columns)}")
    groups = len(table)
    entry = codes[:, :groups].astype(jnp.int32) + CODE_OFFSET
    entry = entry + 256 * jnp.arange(groups, dtype=jnp.int32)[None, :]
    return jnp.asarray(table.reshape(-1)).astype(jnp.int32)[entry]


def _multi_hot(hot: Int[Array, "n g"], size: int) -> Float[Array, "n d"]:
    # Summed over the groups: features of different groups differ, those beyond `size` vanish.
    return jnp.sum(jax.nn.one_hot(hot, size, dtype=jnp.float32), axis=1)
