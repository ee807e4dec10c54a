"""The leakage report of a split, for people and as JSON."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.table import Table

from cellml.screening.leakage import LeakageReport

WHAT = {
    "skeleton": "InChIKey skeleton (atoms and bonds)",
    "scaffold": "Bemis-Murcko scaffold",
    "smiles": "SMILES",
}


def leakage_facts(report: LeakageReport, names: Sequence[str]) -> dict[str, Any]:
    """The report as JSON; lists go by fold.

    Args:
      report: Of a split.
      names: Of its folds or parts.

    Returns:
      A dictionary.
    """
    k = len(report.n_compounds)
    return {
        "folds": list(names[:k]),
        "compounds": report.n_compounds.tolist(),
        "readouts": report.n_readouts.tolist(),
        "hits": report.n_hits.tolist(),
        "undefined_assays": report.undefined_assays.tolist(),
        "identities": {
            name: {
                "distinct": leak.n_groups,
                "on_several_sides": leak.n_spanning,
                "compounds_shared": leak.shared.tolist(),
                "readouts_shared": leak.readouts_shared.tolist(),
            }
            for name, leak in report.identities.items()
        },
        "nearest_similarity_mean": _plain(report.nearest_mean),
        "nearest_similarity_share": {
            f"{limit:g}": _plain(share) for limit, share in report.nearest_share.items()
        },
    }


def leakage_table(report: LeakageReport, names: Sequence[str]) -> Table:
    """The report for the terminal, one column a fold.

    Args:
      report: Of a split.
      names: Of its folds or parts.

    Returns:
      A table.
    """
    k = len(report.n_compounds)
    table = Table(title="the split, and what is on two sides of it", box=None)
    table.add_column("")
    for name in names[:k]:
        table.add_column(name, justify="right")
    table.add_column("", justify="left")

    def add(what: str, values: np.ndarray, note: str = "", digits: int = 0) -> None:
        cells = ["-" if np.isnan(v) else f"{v:,.{digits}f}" for v in values.astype(float).tolist()]
        table.add_row(what, *cells, note)

    add("compounds", report.n_compounds)
    if report.n_readouts.any():
        add("readouts", report.n_readouts)
        add("hits", report.n_hits)
        add("assays without a hit, or with hits alone", report.undefined_assays)
    for name, leak in report.identities.items():
        note = f"{leak.n_spanning} of {leak.n_groups} distinct ones span sides"
        add(f"compounds whose {WHAT.get(name, name)} is elsewhere too", leak.shared, note)
        if leak.readouts_shared.any():
            add("  readouts of an assay that it has elsewhere too", leak.readouts_shared)
    if not np.isnan(report.nearest_mean).all():
        add("Tanimoto similarity to the nearest elsewhere, mean", report.nearest_mean, digits=2)
    for limit, share in report.nearest_share.items():
        add(f"  compounds with a neighbour of {limit:g} or more, %", 100 * share, digits=1)
    return table


def _plain(values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values.tolist()]
