"""`cellml activity predict`: assays of new compounds by trained models; rows keep their order."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Float
from rich.console import Console

from cellml.commands.activity_inputs import CompoundSource, column_names
from cellml.commands.long_work import count, say
from cellml.data.assay_tables import read_smiles
from cellml.data.molecules import Rejected, require_all
from cellml.data.prediction_tables import REASON, write_predictions
from cellml.data.text_tables import line_of
from cellml.errors import UsageError
from cellml.experiment.activity_data import Predictor, count_lacking, describe, read_features_of
from cellml.tasks.activity import ActivityModel, ActivitySpec
from cellml.tasks.activity_models import MODEL, from_chemprop, load_activity


@dataclass(frozen=True)
class PredictOptions:
    """What the user asked for; see `cellml activity predict --help`.

    Attributes:
      source: Compounds; assays in it are not looked at.
      checkpoint: Folder of `cellml activity train` (all its folds are averaged), a
        model.safetensors, or a .pt of Chemprop 1 or 2.
      out: CSV.
      features: One file a modality of the model; may lack compounds.
      spread: Whether to write the standard deviation over the members, too; an evidential model's
        own is written always.
      dropout_samples: Passes of MC dropout a member; the spread over them is written, too.
      batch_size: Compounds at a time.
      strict: Stop where a compound cannot be predicted.
      cache: Folder of molecule codes, which a second run then need not make; None for none.
      workers: Processes for featurising.
    """

    source: CompoundSource
    checkpoint: Path
    out: Path
    features: Sequence[Path] = ()
    spread: bool = False
    dropout_samples: int = 0
    batch_size: int = 256
    strict: bool = False
    cache: Path | None = None
    workers: int = 1


def run(options: PredictOptions, console: Console) -> int:
    """Writes a row a row of the input; those that cannot be predicted say why.

    Args:
      options: See `PredictOptions`.
      console: Where the summary goes.

    Returns:
      Exit code 0.

    Raises:
      UserError: A table, a model or a feature file cannot be read.
      UsageError: They do not fit each other.
    """
    models = load_models(options.checkpoint)
    smiles = read_smiles(options.source.path, smiles_column=options.source.smiles_column)
    spec = models[0].spec
    if options.dropout_samples and not any(dropout_rates(spec)):
        raise UsageError(
            "--dropout-samples: the model was trained without dropout, so all passes are alike; "
            "--spread compares the members of an ensemble"
        )
    if options.batch_size < 1 or options.dropout_samples < 0:
        raise UsageError("--batch-size from 1 and --dropout-samples from 0 expected")
    features = read_features_of(spec, options.features, smiles)
    _note_lacking(spec, features, console)
    described = describe(spec, smiles, features, cache=options.cache, workers=options.workers)
    if not len(described.rows):
        _require_column(options.source, described.rejected)
    if options.strict:
        require_all(described.rejected, str(options.source.path))
    predictor = Predictor(
        spec, batch_size=options.batch_size, dropout_samples=options.dropout_samples
    )
    found = [predictor(model, described) for model in models]
    mean = np.mean([each[0] for each in found], axis=0)
    # The models' own spread, and that between the models.
    spread = np.sqrt(
        np.mean([each[1].astype(np.float64) ** 2 for each in found], axis=0)
        + np.var([each[0] for each in found], axis=0)
    )
    names, columns = _columns(spec.assays, mean, len(smiles), described.rows, "")
    if options.spread or spec.evidential or options.dropout_samples:
        more = _columns(spec.assays, spread, len(smiles), described.rows, "_sd")
        names, columns = names + more[0], np.concatenate([columns, more[1]], axis=1)
    reasons = np.full(len(smiles), "", dtype=object)
    for rejected in described.rejected:
        reasons[rejected.row] = rejected.reason
    others = pa.table({REASON: pa.array(reasons.tolist(), pa.string())})
    write_predictions(options.out, smiles, columns, names, others)
    n_rejected = int((reasons != "").sum())
    say(
        console,
        f"{count(len(smiles), 'compound')}, {n_rejected} without prediction (column {REASON!r}); "
        f"{count(len(models), 'model')}: {options.out}",
    )
    return 0


def _note_lacking(
    spec: ActivitySpec, features: Float[np.ndarray, "n f"] | None, console: Console
) -> None:
    """Says in a line how many compounds have no features of a modality."""
    lacking = {name: n for name, n in count_lacking(spec, features).items() if n}
    if features is None or not lacking:
        return
    parts = [f"{n} of {count(len(features), 'compound')} without {k!r}" for k, n in lacking.items()]
    trained = "" if spec.may_lack else "; the model was not trained on such compounds"
    say(console, f"note: {', '.join(parts)}, predicted by what else is known{trained}")


def _require_column(source: CompoundSource, rejected: Sequence[Rejected]) -> None:
    """Where no row can be predicted and another column is called SMILES, that one is meant."""
    others = [n for n in column_names(source.path) if n.lower() == "smiles"]
    if not others or source.smiles_name in others or not rejected:
        return
    first = rejected[0]
    raise UsageError(
        f"{source.path}: no row of column {source.smiles_name!r} is a molecule (line "
        f"{line_of(first.row)}: {first.smiles!r}, {first.reason}), and there is a column "
        f"{others[0]!r}: give --smiles-column {others[0]}"
    )


def dropout_rates(spec: ActivitySpec) -> list[float]:
    """Shares of units that the parts of a network leave out in training."""
    graph = [float(dict(spec.mpnn).get("dropout", 0.0))] if spec.uses_graph else []
    return [spec.dropout, spec.input_dropout, *graph]


def load_models(checkpoint: Path) -> list[ActivityModel]:
    """Loads the models of a checkpoint.

    Args:
      checkpoint: See `PredictOptions`.

    Returns:
      At least one; all with the same assays.

    Raises:
      UsageError: There is no model, it cannot be read, or models differ in their assays.
    """
    if checkpoint.is_dir():
        paths = sorted([*checkpoint.glob(MODEL), *checkpoint.glob(f"*/{MODEL}")])
    else:
        paths = [checkpoint]
    if not paths:
        raise UsageError(f"{checkpoint}: no {MODEL} in it; train first")
    try:
        models = [
            from_chemprop(path) if path.suffix in (".pt", ".ckpt") else load_activity(path)
            for path in paths
        ]
    except (FileNotFoundError, ValueError) as error:
        raise UsageError(f"--checkpoint: {error}") from error
    for path, model in zip(paths, models, strict=True):
        if model.spec.to_json() != models[0].spec.to_json():
            raise UsageError(f"{path}: another model than {paths[0]}; give one of them")
    return models


def _columns(
    assays: Sequence[str],
    values: np.ndarray,
    n_rows: int,
    rows: np.ndarray,
    ending: str,
) -> tuple[list[str], Float[np.ndarray, "n t"]]:
    """Names and numbers of a column an assay, or an assay and class; NaN in other rows."""
    k = values.shape[2] if values.ndim == 3 else 1
    classes = values.reshape(len(rows), len(assays), k)
    names = [
        f"{name}{ending}" if k == 1 else f"{name}_{i}{ending}" for name in assays for i in range(k)
    ]
    columns = np.full((n_rows, len(names)), np.nan)
    columns[rows] = classes.reshape(len(rows), len(names))
    return names, columns
