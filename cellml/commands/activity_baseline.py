"""`cellml activity baseline`: logistic regression on Morgan bits, on the split of the other models.

A network is worth its trouble where it is better than this.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Float
from rich.console import Console

from cellml.commands.activity_inputs import FOLD, CompoundFolds, CompoundSource, read_folds
from cellml.commands.long_work import Report, count, say, showing
from cellml.data.assay_tables import AssayTable, require_binary
from cellml.data.digests import digest
from cellml.data.fingerprints import structure_fingerprints
from cellml.data.molecules import Rejected, require_all
from cellml.data.prediction_tables import write_predictions
from cellml.data.writers import atomic
from cellml.errors import UsageError
from cellml.screening.linear import REGULARISATION, fit_linear


@dataclass(frozen=True)
class LinearSettings:
    """Of the fingerprint and the regression.

    Attributes:
      radius: Bonds around each atom.
      size: Bits.
      chirality: Whether stereoisomers differ.
      regularisation: See `cellml.screening.linear.fit_linear`.
    """

    radius: int = 3
    size: int = 4096
    chirality: bool = True
    regularisation: float = REGULARISATION

    def __str__(self) -> str:
        """For people."""
        chiral = "chiral " if self.chirality else ""
        return (
            f"logistic regression an assay on {chiral}Morgan bits (radius {self.radius}, "
            f"{self.size} bits, C {self.regularisation:g})"
        )


@dataclass(frozen=True)
class BaselineOptions:
    """What the user asked for.

    Attributes:
      source: Compounds and assays of hits and no hits.
      out: CSV of predictions.
      split_column: See `cellml.commands.activity_inputs.read_folds`.
      splits_file: Likewise.
      settings: Of the model.
      strict: Stop where a SMILES cannot be read.
      workers: Processes for the fingerprints.
    """

    source: CompoundSource
    out: Path
    split_column: str | None = None
    splits_file: Path | None = None
    settings: LinearSettings = LinearSettings()
    strict: bool = False
    workers: int = 1


def run(options: BaselineOptions, console: Console) -> None:
    """Writes predictions of all held-out compounds, each by models that have not seen its fold.

    Args:
      options: See `BaselineOptions`.
      console: Where to print.

    Raises:
      UserError: The table, the split or an option cannot be used.
    """
    if not options.split_column and not options.splits_file:
        raise UsageError("--split-column or --splits-file is needed: what is held out?")
    besides = [options.split_column] if options.split_column else []
    table = options.source.read(besides=besides)
    require_binary(table)
    folds = read_folds(table, column=options.split_column, splits_file=options.splits_file)
    assert folds is not None
    with showing("linear baseline", console) as progress:
        values, rejected = predict_linear(
            table, folds, options.settings, workers=options.workers, progress=progress
        )
    if options.strict:
        require_all(rejected, str(table.path))
    write_linear(options.out, table, folds, values)
    if rejected:
        say(console, f"{count(len(rejected), 'row')} with unreadable SMILES have no prediction")
    say(console, f"wrote {options.out}: {options.settings}")


def predict_linear(
    table: AssayTable,
    folds: CompoundFolds,
    settings: LinearSettings,
    *,
    only: Sequence[int] | None = None,
    workers: int = 1,
    progress: Report | None = None,
) -> tuple[Float[np.ndarray, "n t"], list[Rejected]]:
    """Predicts every held-out compound from the training part of the split that holds it out.

    Args:
      table: Compounds and binary assays.
      folds: Their folds; as other models, this one does not learn from validation compounds.
      settings: Of the model.
      only: Held-out folds to predict; all, if None.
      workers: Processes for the fingerprints.
      progress: Called with the number of models done and of all.

    Returns:
      Probabilities, NaN for compounds that are not held out, and the rows that cannot be read.

    Raises:
      UsageError: A setting is out of range.
    """
    try:
        prints = structure_fingerprints(
            table.smiles,
            radius=settings.radius,
            size=settings.size,
            chirality=settings.chirality,
            workers=workers,
        )
        bits = np.zeros((len(table.smiles), settings.size), np.uint8)
        bits[prints.rows] = prints.values
        readable = np.isin(np.arange(len(bits)), prints.rows)
        joined = np.full(table.labels.shape, np.nan, np.float32)
        chosen = [fold for fold in folds.tested if only is None or fold in only]
        for number, fold in enumerate(chosen):
            test = (folds.fold == fold) & readable
            start = number * len(table.names)

            def report(done: int, total: int, start: int = start) -> None:
                if progress is not None:
                    progress(start + done, total * len(chosen))

            found = fit_linear(
                bits,
                table.labels,
                train=folds.trains(fold) & readable,
                test=test,
                regularisation=settings.regularisation,
                progress=report,
            )
            joined[test] = found[test]
    except ValueError as error:
        raise UsageError(f"linear baseline: {error}") from error
    return joined, prints.rejected


def kept_linear(
    path: Path,
    table: AssayTable,
    folds: CompoundFolds,
    settings: LinearSettings,
    *,
    only: Sequence[int],
    workers: int,
    console: Console,
) -> Float[np.ndarray, "n t"]:
    """As `predict_linear`, but keeps the predictions and takes them again where nothing changed.

    Args:
      path: File for the predictions (npz), made if needed.
      table: As in `predict_linear`, likewise below.
      folds: Folds.
      settings: Of the model.
      only: Folds to predict.
      workers: Processes.
      console: Where to draw a bar.

    Returns:
      Probabilities, NaN for compounds that are not held out.
    """
    facts = {**asdict(settings), "only": sorted(only), "tested": folds.tested}
    key = digest(
        [
            json.dumps(facts, sort_keys=True),
            "\n".join(table.smiles),
            table.labels.tobytes(),
            folds.fold.tobytes(),
            *(folds.trains(fold).tobytes() for fold in sorted(only)),
        ]
    )
    if path.is_file():
        try:
            with np.load(path, allow_pickle=False) as kept:
                if str(kept["key"]) == key:
                    return kept["values"]
        except (OSError, ValueError, KeyError):
            pass  # made anew
    with showing("linear baseline", console) as progress:
        values, _ = predict_linear(
            table, folds, settings, only=only, workers=workers, progress=progress
        )
    with atomic(path) as temporary:
        np.savez_compressed(temporary, key=np.array(key), values=values)
    return values


def write_linear(
    path: Path, table: AssayTable, folds: CompoundFolds, values: Float[np.ndarray, "n t"]
) -> None:
    """Writes the predictions of the held-out compounds with their fold.

    Args:
      path: CSV.
      table: Compounds.
      folds: Their folds.
      values: Predictions.
    """
    rows = np.flatnonzero(np.isin(folds.fold, folds.tested))
    fold = pa.array([folds.names[folds.fold[row]] for row in rows.tolist()], pa.string())
    smiles = [table.smiles[row] for row in rows.tolist()]
    write_predictions(path, smiles, values[rows], table.names, pa.table({FOLD: fold}))
