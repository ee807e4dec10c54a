"""What counts as the same compound: scaffolds, skeletons of InChIKeys, structures without stereo.

A SMILES that RDKit cannot read has none of them (None). RDKit is imported where it is used.
"""

from collections.abc import Callable, Sequence
from typing import Any

from cellml.data.smiles_processes import Progress, map_smiles

SKELETON_LETTERS = 14
"""First block of an InChIKey: atoms and bonds without stereochemistry, isotopes and charges."""


def murcko_scaffolds(
    smiles: Sequence[str], *, workers: int = 1, progress: Progress | None = None
) -> list[str | None]:
    """Finds the Bemis-Murcko scaffold of each compound: its rings and what links them.

    Args:
      smiles: Compounds; atom map numbers are left out of account.
      workers: Processes.
      progress: Called with the number of compounds done and of all.

    Returns:
      Canonical SMILES without chirality, empty for compounds without rings (which so make one
      group, as in Chemprop and in the published folds), None where RDKit cannot read the SMILES.
    Source: Bemis & Murcko 1996, J. Med. Chem. 39:2887.
    """
    return map_smiles(_scaffolds, smiles, workers=workers, progress=progress)


def inchikey_skeletons(
    smiles: Sequence[str], *, workers: int = 1, progress: Progress | None = None
) -> list[str | None]:
    """Finds the first block of each compound's InChIKey, which stereo-isomers share.

    Args:
      smiles: Compounds.
      workers: Processes.
      progress: Called with the number of compounds done and of all.

    Returns:
      14 letters; None where RDKit cannot read the SMILES or InChI cannot describe the compound.
    """
    return map_smiles(_skeletons, smiles, workers=workers, progress=progress)


def flat_structures(
    smiles: Sequence[str], *, workers: int = 1, progress: Progress | None = None
) -> list[str | None]:
    """Writes each compound alike however it was written, without stereochemistry and isotopes.

    Tells about the same compounds apart as `inchikey_skeletons` (not tautomers), several times as
    fast.

    Args:
      smiles: Compounds.
      workers: Processes.
      progress: Called with the number of compounds done and of all.

    Returns:
      Canonical SMILES; None where RDKit cannot read the SMILES.
    """
    return map_smiles(_flat, smiles, workers=workers, progress=progress)


def _flat(smiles: list[str]) -> list[str | None]:
    from rdkit import Chem

    return _of_unnumbered(smiles, lambda m: Chem.MolToSmiles(m, isomericSmiles=False))


def _scaffolds(smiles: list[str]) -> list[str | None]:
    from rdkit.Chem.Scaffolds import MurckoScaffold

    def scaffold(molecule: Any) -> str:
        return str(MurckoScaffold.MurckoScaffoldSmiles(mol=molecule, includeChirality=False))

    return _of_unnumbered(smiles, scaffold)


def _of_unnumbered(smiles: list[str], text_of: Callable[[Any], str]) -> list[str | None]:
    """A text of each molecule without its atom map numbers; None where it cannot be read."""
    from rdkit import Chem, rdBase

    found: list[str | None] = []
    with rdBase.BlockLogs():
        for text in smiles:
            molecule = Chem.MolFromSmiles(text)
            if molecule is None or not text:
                found.append(None)
                continue
            for atom in molecule.GetAtoms():
                atom.SetAtomMapNum(0)
            found.append(text_of(molecule))
    return found


def _skeletons(smiles: list[str]) -> list[str | None]:
    from rdkit import Chem, rdBase

    found: list[str | None] = []
    with rdBase.BlockLogs():
        for text in smiles:
            molecule = Chem.MolFromSmiles(text)
            key = "" if molecule is None or not text else Chem.MolToInchiKey(molecule)
            found.append(key[:SKELETON_LETTERS] or None)
    return found
