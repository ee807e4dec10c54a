"""`cellml activity filter`: from a raw matrix of assays to the one that models are trained on."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from cellml.commands.activity_inputs import CompoundSource, texts_of
from cellml.commands.long_work import count, say, showing
from cellml.data.assay_tables import AssayTable, require_binary
from cellml.data.molecule_codes import parse_molecule
from cellml.data.molecules import Rejected, require_all, write_rejected
from cellml.data.pains import PainsMatches, find_pains
from cellml.data.text_tables import line_of, write_csv
from cellml.data.writers import write_json
from cellml.errors import UsageError, UserError
from cellml.screening.filters import FilterResult, filter_screen

FILTERED, REMOVED, REJECTED, FACTS = "filtered.csv", "removed.csv", "rejected.csv", "filter.json"


@dataclass(frozen=True)
class FilterOptions:
    """What the user asked for.

    Attributes:
      source: Compounds and assays of hits (1) and no hits (0).
      out: Folder to write into.
      pains: Whether to take out compounds with a PAINS substructure.
      jaccard: See `cellml.screening.filters.filter_screen`, as below.
      cut: Likewise.
      keep: Likewise.
      frequent: Likewise.
      seed: Likewise.
      paper: Likewise.
      strict: Stop where a SMILES cannot be read, instead of leaving the row out.
      workers: Processes.
    """

    source: CompoundSource
    out: Path
    pains: bool = True
    jaccard: float = 0.7
    cut: float = 0.95
    keep: float = 0.3
    frequent: float = 0.1
    seed: int = 0
    paper: bool = False
    strict: bool = False
    workers: int = 1


def run(options: FilterOptions, console: Console) -> dict[str, Any]:
    """Writes filtered.csv, removed.csv, rejected.csv and filter.json.

    Args:
      options: See `FilterOptions`.
      console: Where to print.

    Returns:
      What is written to filter.json.

    Raises:
      UserError: The table or an option cannot be used, or nothing is left.
    """
    table = options.source.read()
    require_binary(table)
    with showing("looking for PAINS", console) as progress:
        pains = find_pains(table.smiles, workers=options.workers, progress=progress)
    rejected = [
        Rejected(row, table.smiles[row], parse_molecule(table.smiles[row]).reason or "not readable")
        for row in np.flatnonzero(pains.invalid).tolist()
    ]
    if options.strict:
        require_all(rejected, str(table.path))
    rows = np.flatnonzero(~pains.invalid)
    if not rows.size:
        require_all(rejected, str(table.path))
    usable = table.take(rows)
    try:
        found = filter_screen(
            usable.labels,
            pains=pains.any_family[rows] if options.pains else None,
            seed=options.seed,
            jaccard=options.jaccard,
            cut=options.cut,
            keep=options.keep,
            frequent=options.frequent,
            paper=options.paper,
        )
    except ValueError as error:
        raise UsageError(str(error)) from error
    facts = _facts(options, table, found, len(rejected))
    console.print(_steps_table(facts), soft_wrap=True, markup=False)
    _write(options, usable, found, pains, rows)
    write_rejected(options.out / REJECTED, rejected)
    write_json(options.out / FACTS, facts)
    if rejected:
        say(console, f"{count(len(rejected), 'row')} left out, see {options.out / REJECTED}")
    if not found.compounds.size or not found.assays.size:
        raise UserError(f"{table.path}: no compound or no assay is left, see {options.out}")
    say(
        console,
        f"wrote {options.out / FILTERED}: {count(found.compounds.size, 'compound')}, "
        f"{count(found.assays.size, 'assay')}",
    )
    return facts


def _write(
    options: FilterOptions,
    usable: AssayTable,
    found: FilterResult,
    pains: PainsMatches,
    rows: np.ndarray,
) -> None:
    """The two tables: what is left, and what was taken out by which step."""
    left = usable.take(found.compounds)
    columns = {options.source.smiles_name: pa.array(list(left.smiles), pa.string())}
    columns |= {name: left.others[name] for name in left.others.column_names}
    for assay in found.assays.tolist():
        columns[usable.names[assay]] = pa.array(texts_of(left.labels[:, assay]), pa.string())
    write_csv(options.out / FILTERED, pa.table(columns))
    lines: list[tuple[str, str, str, str, str]] = []
    for step in found.steps:
        for row in step.compounds.tolist():
            reason = step.rule
            if step.name == "pains":
                reason = "PAINS: " + " ".join(pains.alerts[int(rows[row])])
            line = str(line_of(int(rows[row])))
            lines.append(("compound", step.name, line, usable.smiles[row], reason))
        for assay in step.assays.tolist():
            cluster = f" (cluster {found.clusters[assay]})" if step.name == "redundant" else ""
            lines.append(("assay", step.name, "", usable.names[assay], step.rule + cluster))
    names = ("kind", "step", "line", "name", "reason")
    removed = {
        name: pa.array([line[i] for line in lines], pa.string()) for i, name in enumerate(names)
    }
    write_csv(options.out / REMOVED, pa.table(removed))


def _facts(
    options: FilterOptions, table: AssayTable, found: FilterResult, n_rejected: int
) -> dict[str, Any]:
    tested = ~np.isnan(table.labels)
    return {
        "data": str(table.path),
        "settings": {
            "pains": options.pains,
            "jaccard": options.jaccard,
            "cut": options.cut,
            "keep": options.keep,
            "frequent": options.frequent,
            "seed": options.seed,
            "paper": options.paper,
        },
        "before": {
            "compounds": len(table.smiles),
            "assays": len(table.names),
            "readouts": int(tested.sum()),
            "hits": int((table.labels == 1).sum()),
        },
        "rejected": n_rejected,
        "steps": [
            {
                "name": step.name,
                "rule": step.rule,
                "compounds_removed": int(step.compounds.size),
                "assays_removed": int(step.assays.size),
                "compounds": step.n_compounds,
                "assays": step.n_assays,
                "readouts": step.n_readouts,
                "hits": step.n_hits,
            }
            for step in found.steps
        ],
    }


def _steps_table(facts: dict[str, Any]) -> Table:
    shown = Table(title="what every step took out, and what is left", box=None)
    shown.add_column("step")
    for name in ("compounds out", "assays out", "compounds", "assays", "readouts", "hits"):
        shown.add_column(name, justify="right")
    before = facts["before"]
    _add_row(shown, "as read", "", "", before)
    if facts["rejected"]:
        shown.add_row("not readable", f"{facts['rejected']}", *[""] * 5)
    for step in facts["steps"]:
        compounds, assays = step["compounds_removed"], step["assays_removed"]
        shown_compounds = f"{compounds:,}" if compounds else ""
        _add_row(shown, step["rule"], shown_compounds, f"{assays:,}" if assays else "", step)
    return shown


def _add_row(table: Table, name: str, compounds: str, assays: str, left: dict[str, Any]) -> None:
    numbers = (f"{left[key]:,}" for key in ("compounds", "assays", "readouts", "hits"))
    table.add_row(name, compounds, assays, *numbers)
