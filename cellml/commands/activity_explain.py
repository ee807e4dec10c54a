"""`cellml activity explain`: what a prediction rests on, drawn on the molecules."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from markupsafe import Markup
from rich.console import Console

from cellml import __version__
from cellml.commands.activity_predict import load_models
from cellml.commands.long_work import count, say
from cellml.data.assay_tables import read_smiles
from cellml.data.molecule_drawing import draw_values
from cellml.data.molecules import write_rejected
from cellml.data.text_tables import suggestion, write_csv
from cellml.data.writers import atomic
from cellml.errors import UsageError
from cellml.experiment.activity_data import describe, read_features_of
from cellml.experiment.activity_explanations import (
    Explanation,
    explain,
    largest_attribution,
    rows_of_atoms,
)
from cellml.report.html import Chapter, Figure, Section, write_report
from cellml.tasks.activity import ActivitySpec

PAGE, ATOMS, MOLECULES, REJECTED = "index.html", "attributions.csv", "molecules.csv", "rejected.csv"
ERROR_WARNED = 0.05  # share of the difference that the sum may miss without a word


@dataclass(frozen=True)
class ExplainOptions:
    """What the user asked for; see `cellml activity explain --help`.

    Attributes:
      data: Table of compounds; None if `smiles` are given.
      checkpoint: As of `cellml activity predict`.
      out: Folder.
      smiles: Compounds instead of a table.
      smiles_column: Of the table; the first, if None.
      assay: Name of the assay to explain; may be None where the model has one alone.
      category: Number of the class, of a multi-class model.
      features: One file a modality of the model.
      steps: Gradients on the way, see `integrated_gradients`.
      batch_size: Compounds at a time.
      cache: Folder of molecule codes; None for none.
      workers: Processes for featurising.
    """

    data: Path | None
    checkpoint: Path
    out: Path
    smiles: Sequence[str] = ()
    smiles_column: str | None = None
    assay: str | None = None
    category: int | None = None
    features: Sequence[Path] = ()
    steps: int = 64
    batch_size: int = 64
    cache: Path | None = None
    workers: int = 1


def run(options: ExplainOptions, console: Console) -> int:
    """Writes a picture a compound, attributions of all atoms, and a page with everything.

    Args:
      options: See `ExplainOptions`.
      console: Where the summary goes.

    Returns:
      Exit code 0.

    Raises:
      UserError: A table, a model or a feature file cannot be read.
      UsageError: Options do not fit each other or the model.
    """
    if options.data is not None and options.smiles and not options.data.is_file():
        raise UsageError(
            f"cellml activity explain: {options.data} is read as a table beside --smiles "
            f"{options.smiles[-1]}: --smiles is repeated for every compound, as "
            f"--smiles {options.smiles[-1]} --smiles {options.data}"
        )
    if (options.data is None) == (not options.smiles):
        raise UsageError("cellml activity explain: a table of compounds or --smiles expected")
    if options.steps < 1 or options.batch_size < 1:
        raise UsageError("--steps and --batch-size: at least 1 expected")
    models = load_models(options.checkpoint)
    spec = models[0].spec
    assay, category = _chosen(options, spec)
    smiles = tuple(options.smiles)
    if options.data is not None:
        smiles = read_smiles(options.data, smiles_column=options.smiles_column)
    features = read_features_of(spec, options.features, smiles)
    described = describe(spec, smiles, features, cache=options.cache, workers=options.workers)
    found = explain(
        models,
        described,
        smiles,
        assay=assay,
        category=category,
        steps=options.steps,
        batch_size=options.batch_size,
    )
    write_rejected(options.out / REJECTED, described.rejected)
    _write_tables(options.out, found, smiles)
    _write_page(options, spec, found, smiles, spec.assays[assay], len(described.rejected))
    rejected = f", {len(described.rejected)} in {REJECTED}" if described.rejected else ""
    say(console, f"{count(len(found), 'molecule')} explained{rejected}: {options.out / PAGE}")
    if found:
        worst = max(map(_relative_error, found))
        hint = "; raise --steps" if worst > ERROR_WARNED else ""
        say(console, f"completeness error: at most {worst:.2%} of a molecule's difference{hint}")
    return 0


def _chosen(options: ExplainOptions, spec: ActivitySpec) -> tuple[int, int]:
    """Numbers of the assay and of the class."""
    if not (spec.uses_graph or spec.uses_fingerprint):
        raise UsageError(f"{options.checkpoint}: a model of features only, it sees no atoms")
    if spec.uses_fingerprint and spec.fingerprint.kinds != "morgan":
        raise UsageError(
            f"{options.checkpoint}: its fingerprint is {spec.fingerprint.kinds}; only what "
            "Morgan's notes lies around an atom"
        )
    name = options.assay
    if name is None and len(spec.assays) == 1:
        name = spec.assays[0]
    if name not in spec.assays:
        what = "expected" if name is None else f"{name}: no such assay"
        raise UsageError(f"--assay {what}{suggestion(name or '', spec.assays)}")
    category = options.category
    if spec.kind != "multiclass":
        if category is not None:
            raise UsageError(f"--class goes with a multi-class model, this one is {spec.kind}")
        return spec.assays.index(name), 0
    if category is None or not 0 <= category < spec.n_classes:
        raise UsageError(f"--class {category}: one of 0 to {spec.n_classes - 1} expected")
    return spec.assays.index(name), category


def _relative_error(explanation: Explanation) -> float:
    """Completeness error in shares of the difference, of a tiny one in shares of the parts."""
    whole = abs(explanation.output - explanation.baseline)
    whole = max(whole, 0.1 * float(np.abs(explanation.atoms).sum()), 1e-6)
    return abs(explanation.error) / whole


def _write_tables(folder: Path, found: Sequence[Explanation], smiles: Sequence[str]) -> None:
    rows, numbers, symbols, values = zip(*rows_of_atoms(found), strict=True) if found else [()] * 4
    write_csv(
        folder / ATOMS,
        pa.table(
            {
                "molecule": pa.array(rows, pa.int64()),
                "smiles": pa.array([smiles[row] for row in rows], pa.string()),
                "atom": pa.array(numbers, pa.int64()),
                "symbol": pa.array(symbols, pa.string()),
                "attribution": _texts(values),
            }
        ),
    )
    columns = {
        "prediction": [e.prediction for e in found],
        "output": [e.output for e in found],
        "baseline": [e.baseline for e in found],
        "sum": [float(e.atoms.sum()) for e in found],
        "error": [e.error for e in found],
    }
    write_csv(
        folder / MOLECULES,
        pa.table(
            {
                "molecule": pa.array([e.row for e in found], pa.int64()),
                "smiles": pa.array([smiles[e.row] for e in found], pa.string()),
                **{name: _texts(values) for name, values in columns.items()},
            }
        ),
    )


def _texts(values: Sequence[float]) -> pa.Array:
    return pa.array([f"{value:.6g}" for value in values], pa.string())


def _write_page(
    options: ExplainOptions,
    spec: ActivitySpec,
    found: Sequence[Explanation],
    smiles: Sequence[str],
    assay: str,
    n_rejected: int,
) -> None:
    limit = largest_attribution(found)
    unit = "the value" if spec.kind == "regression" else "the logit"
    predicted = "predicted" if spec.kind == "regression" else "predicted probability"
    of_class = f", class {options.category}" if options.category is not None else ""
    figures = []
    for explanation in found:
        picture = draw_values(
            smiles[explanation.row],
            explanation.atoms.tolist(),
            limit=limit,
            title=f"{assay}{of_class}",
            subtitle=f"{predicted} {explanation.prediction:.3g}",
            legend=f"contribution to {unit}",
            largest_fragment=spec.largest_fragment,
        )
        with atomic(options.out / f"molecule_{explanation.row}.svg") as temporary:
            temporary.write_text(picture + "\n", encoding="utf-8")
        caption = (
            f"From {explanation.baseline:.3g} to {explanation.output:.3g}; the atoms add up to "
            f"{explanation.atoms.sum():.3g} (completeness error {explanation.error:.2g})."
        )
        title = f"{explanation.row}: {smiles[explanation.row]}"
        figures.append(Figure(Markup(picture), caption, title))
    introduction = (
        f"Which atoms speak for {assay}{of_class} (red) and which against it (blue), by integrated "
        f"gradients from a molecule of which nothing is known. Colours mean the same in all "
        f"pictures: full at {limit:.3g} of {unit}."
    )
    seen = "a molecule" if len(found) == 1 else f"{len(found)} molecules"
    lead = f"{seen[:1].upper()}{seen[1:]}, in the order of the table, from row 0."
    chapter = Chapter("Molecules", lead, [Section(f"{assay}{of_class}", (), figures)])
    facts = {
        "cellml": __version__,
        "model": f"{spec.representation}, {count(spec.members, 'member')}",
        "steps": str(options.steps),
        "rejected": str(n_rejected),
    }
    title = f"Why these molecules: {assay}"
    write_report(options.out / PAGE, title, introduction, [chapter], facts)
