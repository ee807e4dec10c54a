"""The atoms behind the bits of Morgan fingerprints, so that what is known of bits says of atoms."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Real

Environments = Mapping[int, Sequence[tuple[int, ...]]]
"""By bit: every place in the molecule that sets it, as the atoms of that place."""


def bit_environments(
    molecule: Any, *, radius: int = 2, size: int = 2048, chirality: bool = False
) -> Environments:
    """Finds what sets each bit of a Morgan fingerprint.

    Args:
      molecule: From `cellml.data.molecule_codes.parse_molecule`.
      radius: As of `cellml.data.fingerprints.structure_fingerprints`.
      size: Likewise.
      chirality: Likewise.

    Returns:
      The bits that are set; two different environments may share one (a collision).
    """
    from rdkit.Chem import rdFingerprintGenerator

    generator = rdFingerprintGenerator.GetMorganGenerator(
        radius=radius, fpSize=size, includeChirality=chirality
    )
    extra = rdFingerprintGenerator.AdditionalOutput()
    extra.AllocateBitInfoMap()
    generator.GetFingerprint(molecule, additionalOutput=extra)
    return {
        int(bit): [_atoms_around(molecule, centre, bonds) for centre, bonds in places]
        for bit, places in extra.GetBitInfoMap().items()
    }


def share_among_atoms(
    environments: Environments, values: Real[np.ndarray, " n"], n_atoms: int
) -> Float[np.ndarray, " a"]:
    """Hands the values of bits down to atoms; their sum stays what it is.

    A bit's value is split evenly over its environments, and each part over the environment's atoms.

    Args:
      environments: From `bit_environments`.
      values: Of each bit; those of bits that are not set are left out.
      n_atoms: Of the molecule.

    Returns:
      One number an atom.
    """
    found = np.zeros(n_atoms)
    for bit, places in environments.items():
        for atoms in places:
            found[list(atoms)] += float(values[bit]) / (len(places) * len(atoms))
    return found


def _atoms_around(molecule: Any, centre: int, radius: int) -> tuple[int, ...]:
    """Atoms at most `radius` bonds away, as far as the environment has bonds to them."""
    from rdkit import Chem

    atoms = {int(centre)}
    if radius:
        for number in Chem.FindAtomEnvironmentOfRadiusN(molecule, int(radius), int(centre)):
            bond = molecule.GetBondWithIdx(number)
            atoms |= {bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()}
    return tuple(sorted(atoms))
