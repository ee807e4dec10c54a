"""What a split lets through: the report for people and as JSON, and a note in a line."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int
from rich.console import Console
from rich.table import Table

from cellml.commands.activity_inputs import CompoundFolds
from cellml.commands.long_work import count, say
from cellml.data.assay_tables import AssayTable
from cellml.data.fingerprints import structure_fingerprints
from cellml.data.scaffolds import flat_structures, inchikey_skeletons, murcko_scaffolds
from cellml.data.text_tables import line_of
from cellml.screening.leakage import LeakageReport, leakage_report
from cellml.screening.splits import codes_of

LEAKAGE = "leakage.json"

WHAT = {
    "skeleton": "InChIKey skeleton (atoms and bonds)",
    "scaffold": "Bemis-Murcko scaffold",
    "smiles": "SMILES",
}


def report_leakage(
    table: AssayTable,
    side: Int[np.ndarray, " n"],
    names: Sequence[str],
    console: Console,
    *,
    workers: int = 1,
) -> dict[str, Any]:
    """Examines a split, whatever made it, and shows what is on two sides of it.

    Args:
      table: Compounds; those that cannot be read are on no side.
      side: Fold or part of each, -1 for none.
      names: Of the folds or parts.
      console: Where the table goes.
      workers: Processes.

    Returns:
      The report as JSON.
    """
    prints = structure_fingerprints(table.smiles, workers=workers)
    usable = table.take(prints.rows)
    identities = {
        "skeleton": codes_of(inchikey_skeletons(usable.smiles, workers=workers)),
        "scaffold": codes_of(murcko_scaffolds(usable.smiles, workers=workers)),
        "smiles": codes_of(usable.smiles),
    }
    binary = [kind in ("binary", "empty") for kind in usable.kinds()]
    report = leakage_report(
        side[prints.rows],
        identities,
        labels=usable.labels[:, binary],
        fingerprints=prints.values,
    )
    console.print(leakage_table(report, names), soft_wrap=True, markup=False)
    return leakage_facts(report, names)


def note_leakage(
    table: AssayTable,
    folds: CompoundFolds,
    console: Console,
    *,
    only: Sequence[int] | None = None,
    workers: int = 1,
) -> int:
    """Says in a line how many held-out compounds are among the training compounds as well.

    Args:
      table: Compounds.
      folds: Their folds.
      console: Where the line goes, if there is anything to say.
      only: Folds that are held out; all that are tested, if None.
      workers: Processes.

    Returns:
      Number of held-out compounds whose structure, stereochemistry aside, is trained on too.
    """
    structures = flat_structures(table.smiles, workers=workers)
    known = np.array([structure is not None for structure in structures])
    codes = codes_of(structures)
    twins: list[tuple[int, int]] = []
    for fold in folds.tested if only is None else only:
        split = folds.split_of(fold)
        seen = np.concatenate([split.train, split.val])
        seen = seen[known[seen]]
        first = dict(zip(codes[seen][::-1].tolist(), seen[::-1].tolist(), strict=True))
        rows = split.test[known[split.test]].tolist()
        twins += [(row, first[codes[row]]) for row in rows if int(codes[row]) in first]
    if twins:
        row, other = min(twins)
        say(
            console,
            f"note: {count(len(twins), 'held-out compound')} also trained on, stereochemistry "
            f"aside (the first: line {line_of(row)}, {table.smiles[row]}, as line "
            f"{line_of(other)}). Scores flatter; keep them together by split --identity-safe",
        )
    return len(twins)


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
