"""Compounds that interfere with assays (PAINS), by the catalogue of substructures in RDKit."""

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool

from cellml.data.smiles_processes import Progress, map_smiles

FAMILIES = ("A", "B", "C")
"""By how many compounds the alert was found with: 150 or more, 15 or more, fewer."""


class PainsMatches(NamedTuple):
    """PAINS among n compounds.

    Attributes:
      families: Whether an alert of each of `FAMILIES` was found.
      alerts: Names of the alerts of each compound.
      invalid: Compounds that RDKit cannot read; they have no alert.
    """

    families: Bool[np.ndarray, "n 3"]
    alerts: tuple[tuple[str, ...], ...]
    invalid: Bool[np.ndarray, " n"]

    @property
    def any_family(self) -> Bool[np.ndarray, " n"]:
        """Whether any alert was found."""
        return np.asarray(self.families.any(1))


def find_pains(
    smiles: Sequence[str], *, workers: int = 1, progress: Progress | None = None
) -> PainsMatches:
    """Looks for the 480 PAINS substructures, about 400 compounds a CPU second.

    Args:
      smiles: Compounds.
      workers: Processes.
      progress: Called with the number of compounds done and of all.

    Returns:
      Alerts per compound.
    Source: Baell & Holloway 2010, J. Med. Chem. 53:2719.
    """
    found = map_smiles(_matches, smiles, workers=workers, progress=progress)
    families = np.zeros((len(found), len(FAMILIES)), bool)
    for row, matches in enumerate(found):
        for family, _ in matches or ():
            families[row, FAMILIES.index(family)] = True
    return PainsMatches(
        families,
        tuple(tuple(name for _, name in matches or ()) for matches in found),
        np.array([matches is None for matches in found], bool),
    )


def _matches(smiles: list[str]) -> list[list[tuple[str, str]] | None]:
    """Family and name of each alert; None where the SMILES cannot be read."""
    from rdkit import Chem, rdBase

    found: list[list[tuple[str, str]] | None] = []
    with rdBase.BlockLogs():
        for text in smiles:
            molecule = Chem.MolFromSmiles(text) if text else None
            if molecule is None:
                found.append(None)
                continue
            entries = _catalogue().GetMatches(molecule)
            found.append(
                [(entry.GetProp("FilterSet")[-1], entry.GetDescription()) for entry in entries]
            )
    return found


@cache
def _catalogue() -> Any:
    from rdkit.Chem.FilterCatalog import FilterCatalog, FilterCatalogParams

    parameters = FilterCatalogParams()
    parameters.AddCatalog(FilterCatalogParams.FilterCatalogs.PAINS)
    return FilterCatalog(parameters)
