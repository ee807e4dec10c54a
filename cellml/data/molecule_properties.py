"""Properties of molecules as bits: size, lipophilicity, shape, surface by charge and polarity.

Each property is cut into `STEPS` even steps between two bounds, and sets a bit for every step that
it reaches. So the similarity of such bits (Tanimoto, as of other fingerprints) falls with the
distance of the properties. The bounds are the first and 98th of a hundred parts of 3,000 molecules,
half of MoleculeNet's Lipophilicity and half of ChEMBL-209 (Hofmarcher 2019), rounded; what lies
beyond counts as if it lay at the bound.
"""

import functools
from typing import Any

import numpy as np
from jaxtyping import UInt8

STEPS = 15

PROPERTIES = {
    "amw": (160, 600),
    "NumRotatableBonds": (0, 11),
    "NumHBD": (0, 4),
    "NumHBA": (1, 9),
    "NumHeavyAtoms": (12, 42),
    "NumAtoms": (20, 80),
    "NumHeteroatoms": (2, 12),
    "NumAmideBonds": (0, 3),
    "FractionCSP3": (0, 0.7),
    "NumRings": (1, 6),
    "NumAromaticRings": (0, 4),
    "NumAliphaticRings": (0, 3),
    "NumSaturatedRings": (0, 3),
    "NumHeterocycles": (0, 4),
    "NumAromaticHeterocycles": (0, 3),
    "NumSaturatedHeterocycles": (0, 2),
    "NumAliphaticHeterocycles": (0, 2),
    "NumBridgeheadAtoms": (0, 2),
    "labuteASA": (68, 244),
    "tpsa": (12, 135),
    "CrippenClogP": (0.2, 6),
    "CrippenMR": (44, 160),
    "chi0v": (6.7, 25),
    "chi1v": (3.6, 15.4),
    "chi2v": (2.6, 12.7),
    "chi3v": (1.6, 9.4),
    "chi4v": (1, 7),
    "chi0n": (6.3, 24.2),
    "chi1n": (3.5, 14.2),
    "chi2n": (2.3, 11.1),
    "chi3n": (1.5, 8.1),
    "chi4n": (0.9, 6.2),
    "hallKierAlpha": (-4.5, -0.9),
    "kappa1": (7.4, 30),
    "kappa2": (2.9, 13.4),
    "kappa3": (1.2, 7.8),
    "Phi": (1.7, 10),
}
"""Lower and upper bound, by the names that RDKit's `rdMolDescriptors.Properties` has."""

# Surface of the atoms within each range of a property, square angstroms: upper bounds; lower: 0.
_SURFACES = {
    "SlogP_VSA_": (22, 86, 30, 24, 67, 85, 10, 33, 6, 25, 17, 35),
    "SMR_VSA_": (33, 5, 29, 18, 71, 57, 102, 6, 29, 56),
    "PEOE_VSA_": (30, 24, 22, 15, 22, 68, 86, 58, 41, 29, 22, 17, 16, 12),
}

N_PROPERTIES = len(PROPERTIES) + sum(map(len, _SURFACES.values()))

_LOW = np.array([low for low, _ in PROPERTIES.values()], np.float64)
_LOW = np.concatenate([_LOW, np.zeros(N_PROPERTIES - len(_LOW))])
_HIGH = np.array(
    [high for _, high in PROPERTIES.values()] + [x for one in _SURFACES.values() for x in one]
)


def property_bits(molecule: Any, size: int) -> UInt8[np.ndarray, " size"]:
    """Returns the properties of a molecule as bits.

    Args:
      molecule: Of RDKit.
      size: Bits; those behind the last property are 0. With fewer than `N_PROPERTIES * STEPS`, the
        steps are fewer and wider.

    Returns:
      0 and 1. A property that RDKit cannot compute (charges of metals) sets none.

    Raises:
      ValueError: `size` is less than `N_PROPERTIES`.

    Source: descriptors of Kier and Hall (1991), Wildman and Crippen (1999), Labute (2000).
    """
    n_steps = min(STEPS, size // N_PROPERTIES)
    if n_steps < 1:
        raise ValueError(
            f"fingerprint of properties: size {size}, at least {N_PROPERTIES} expected"
        )
    share = np.nan_to_num((_values(molecule) - _LOW) / (_HIGH - _LOW), nan=0, posinf=1, neginf=0)
    level = np.floor(share * n_steps)
    bits = level[:, None] > np.arange(n_steps)[None]
    found = np.zeros(size, np.uint8)
    found[: bits.size] = bits.ravel()
    return found


@functools.cache
def _computer() -> Any:
    from rdkit.Chem import rdMolDescriptors as rdkit_module  # slow to import

    return rdkit_module.Properties(list(PROPERTIES))


def _values(molecule: Any) -> np.ndarray:
    from rdkit.Chem import rdMolDescriptors as rdkit_module

    values = list(_computer().ComputeProperties(molecule))
    for name in _SURFACES:
        values += list(getattr(rdkit_module, name)(molecule))
    return np.array(values, np.float64)
