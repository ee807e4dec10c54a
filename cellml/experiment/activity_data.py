"""From a table of compounds to what an activity model takes, and from its outputs back to rows."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Integer, UInt8

from cellml.data import graph_batching, row_batching
from cellml.data.compound_features import CompoundFeatures, numbered, read_features
from cellml.data.fingerprints import structure_fingerprints
from cellml.data.graph_budgets import choose_budgets
from cellml.data.molecule_chunks import Progress
from cellml.data.molecules import Molecules, Rejected, read_molecules
from cellml.data.text_tables import suggestion
from cellml.errors import UsageError, UserError
from cellml.tasks.activity import ActivityModel, ActivitySpec, Modality, predict_with_spread
from cellml.types import Batch


class Described(NamedTuple):
    """The usable compounds of a table, described as a model wants them; m of n rows.

    Attributes:
      rows: Row of each in the table, ascending.
      molecules: Graphs, None if the model has none.
      fingerprint: Likewise.
      features: Of all modalities side by side, NaN where missing; likewise.
      rejected: The other rows and why.
    """

    rows: Integer[np.ndarray, " m"]
    molecules: Molecules | None
    fingerprint: UInt8[np.ndarray, "m b"] | None
    features: Float[np.ndarray, "m f"] | None
    rejected: list[Rejected]

    def take(self, places: Integer[np.ndarray, " k"]) -> "Described":
        """Some of the compounds, by their places among the m, ascending."""
        return Described(
            self.rows[places],
            None if self.molecules is None else self.molecules.take(places),
            None if self.fingerprint is None else self.fingerprint[places],
            None if self.features is None else self.features[places],
            [],
        )

    @property
    def extras(self) -> dict[str, np.ndarray]:
        """What a batch holds beside graphs."""
        found = {"fingerprint": self.fingerprint, "features": self.features}
        return {name: values for name, values in found.items() if values is not None}


def read_modalities(
    files: Sequence[Path | str], smiles: Sequence[str]
) -> tuple[tuple[Modality, ...], Float[np.ndarray, "n f"] | None]:
    """Reads feature files, one a modality, named by its stem.

    Args:
      files: See `cellml.data.compound_features.read_features`; may be none.
      smiles: Of the table's compounds.

    Returns:
      The modalities, and their features side by side, NaN where missing; None without files.

    Raises:
      UserError: A file cannot be read, or two have the same name.
    """
    modalities, parts = [], []
    for file in map(Path, files):
        found = read_features(file, smiles)
        name = file.name.split(".")[0]
        if name in [modality.name for modality in modalities]:
            raise UserError(f"{file}: a second file of features called {name!r}; rename one")
        modalities.append(Modality(name, found.names))
        parts.append(found.values)
    return tuple(modalities), np.concatenate(parts, axis=1) if parts else None


def read_features_of(
    spec: ActivitySpec, files: Sequence[Path | str], smiles: Sequence[str]
) -> Float[np.ndarray, "n f"] | None:
    """Reads the features that a model takes, whatever the order of files and columns.

    Args:
      spec: The model's. A modality is the file of its name, or else the one with its columns; where
        file or model only number their features (as in Chemprop's npz), their count decides.
      files: One a modality; fewer, or of other compounds, where the model can do without.
      smiles: Of the table's compounds.

    Returns:
      Features as the model was trained on, NaN where missing; None if it takes none.

    Raises:
      UserError: A file cannot be read, or lacks features of the model or has others.
      UsageError: There are not as many files as modalities.
    """
    wanted = ", ".join(repr(modality.name) for modality in spec.modalities) or "none"
    may_lack, alone = spec.may_lack, spec.representation == "features_only"
    fewer = may_lack and (files or not alone)
    if len(files) != len(spec.modalities) and not (fewer and len(files) < len(spec.modalities)):
        untrained = ""
        if len(files) < len(spec.modalities) and not may_lack:
            untrained = (
                ", and was not trained on compounds without (`train --set "
                "loss.modality_dropout=0.2` makes one that can do without)"
            )
        raise UsageError(
            f"--features: {len(files)} files found, {len(spec.modalities)} expected: the model "
            f"takes {wanted}{untrained}"
        )
    may_lack = may_lack and not (alone and len(files) == 1)
    left = {Path(file): read_features(Path(file), smiles, may_lack=may_lack) for file in files}
    if len(left) < len(files):
        raise UsageError(f"--features: a file twice; the model takes {wanted}")
    chosen: dict[str, CompoundFeatures] = {}
    tests: tuple[Callable[[Path, Modality], bool], ...] = (
        lambda path, modality: path.name.split(".")[0] == modality.name,
        lambda path, modality: set(left[path].names) == set(modality.columns),
        lambda path, modality: True,
    )
    for test in tests:
        for modality in spec.modalities:
            fitting = [path for path in left if test(path, modality)]
            if modality.name not in chosen and fitting:
                chosen[modality.name] = left.pop(fitting[0])
    parts = [
        _in_order(chosen[modality.name], modality)
        if modality.name in chosen
        else np.full((len(smiles), len(modality.columns)), np.nan, np.float32)
        for modality in spec.modalities
    ]
    return np.concatenate(parts, axis=1) if parts else None


def count_lacking(spec: ActivitySpec, features: Float[np.ndarray, "n f"] | None) -> dict[str, int]:
    """Counts compounds without any feature of a modality.

    Args:
      spec: Has the modalities.
      features: Of all of them, NaN where missing.

    Returns:
      Number by modality; none without features.
    """
    if features is None:
        return {}
    ends = np.cumsum([len(modality.columns) for modality in spec.modalities])[:-1]
    parts = np.split(np.isnan(features), ends, axis=1)
    return {
        modality.name: int(part.all(axis=1).sum())
        for modality, part in zip(spec.modalities, parts, strict=True)
    }


def _in_order(found: CompoundFeatures, modality: Modality) -> Float[np.ndarray, "n f"]:
    """The columns of a file in the order of the model."""
    columns, n = modality.columns, len(modality.columns)
    if found.names == columns:
        return found.values
    unnamed = columns in (numbered(n), tuple(f"feature_{i}" for i in range(n)))
    if not found.named or unnamed:
        if len(found.names) == n:
            return found.values
        raise UserError(
            f"{found.path}: {len(found.names)} features found, {n} expected as modality "
            f"{modality.name!r} of the model has"
        )
    missing = [name for name in columns if name not in set(found.names)]
    others = [name for name in found.names if name not in set(columns)]
    if missing or others:
        first = f"; no column {missing[0]!r}{suggestion(missing[0], others)}" if missing else ""
        extra = f"; unknown column {', '.join(map(repr, others[:3]))}" if others else ""
        raise UserError(
            f"{found.path}: {len(missing)} of the {n} features of modality {modality.name!r} of "
            f"the model are missing, {len(others)} others found{first}{extra}"
        )
    place = {name: i for i, name in enumerate(found.names)}
    return found.values[:, [place[name] for name in columns]]


def describe(
    spec: ActivitySpec,
    smiles: Sequence[str],
    features: Float[np.ndarray, "n f"] | None = None,
    *,
    cache: Path | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> Described:
    """Featurises compounds for a model.

    Args:
      spec: The model's.
      smiles: One a row.
      features: From `read_modalities`, with the modalities of the spec.
      cache: Folder of molecule codes, see `read_molecules`.
      workers: Processes.
      progress: See `read_molecules`.

    Returns:
      The usable compounds. Without structures in the model, those with any feature at all.

    Raises:
      ValueError: The features are not those of the spec.
    """
    width = 0 if features is None else features.shape[1]
    if width != spec.n_features:
        raise ValueError(f"found {width} features a compound, the model takes {spec.n_features}")
    rows, rejected, molecules, bits = np.arange(len(smiles)), [], None, None
    options = {"largest_fragment": spec.largest_fragment, "workers": workers, "progress": progress}
    if spec.uses_graph:
        molecules, rejected = read_molecules(smiles, cache=cache, **options)
        rows = molecules.rows
    if spec.uses_fingerprint:
        rows, bits, rejected = structure_fingerprints(
            smiles, **spec.fingerprint._asdict(), **options
        )
    if spec.representation == "features_only" and features is not None:
        there = np.isfinite(features).any(axis=1)
        rows = np.flatnonzero(there)
        rejected = [Rejected(i, smiles[i], "no features") for i in np.flatnonzero(~there).tolist()]
    mine = None if features is None else features[rows].astype(np.float32)
    return Described(rows, molecules, bits, mine, rejected)


def training_batches(
    described: Described,
    extras: Mapping[str, np.ndarray],
    *,
    batch_size: int,
    seed: int,
    parts: int = 1,
) -> Callable[[int], Iterator[Batch]]:
    """Batches for `cellml.train.loop.fit`.

    Args:
      described: The training compounds.
      extras: Further values of each, such as `labels`.
      batch_size: Compounds a step.
      seed: Of the order.
      parts: Devices.

    Returns:
      `batches(start_step)`.
    """
    arrays = {**described.extras, **extras}
    molecules = described.molecules
    if molecules is None:
        arrays["index"] = described.rows.astype(np.int32)
        return row_batching.training_rows(arrays, batch_size=batch_size, seed=seed)
    budgets = choose_budgets(
        molecules.atom_counts, molecules.bond_counts, batch_size=batch_size, parts=parts
    )
    return graph_batching.training_batches(
        molecules, arrays, batch_size=batch_size, seed=seed, budgets=budgets, parts=parts
    )


def evaluation_batches(described: Described, *, batch_size: int) -> Iterator[Batch]:
    """All compounds once, in one part.

    Args:
      described: The compounds.
      batch_size: Compounds a batch, about.

    Yields:
      Host batches with `index`, the row of each compound in its table.
    """
    molecules = described.molecules
    if molecules is None:
        arrays = {**described.extras, "index": described.rows.astype(np.int32)}
        yield from row_batching.evaluation_rows(arrays, batch_size=batch_size)
        return
    budgets = choose_budgets(
        molecules.atom_counts,
        molecules.bond_counts,
        batch_size=min(batch_size, len(molecules)),
        epochs=1,
    )
    yield from graph_batching.evaluation_batches(molecules, described.extras, budgets=budgets)


class Predictor:
    """Predicts the compounds of tables; one program serves all that have the same shapes."""

    def __init__(
        self, spec: ActivitySpec, *, batch_size: int = 256, dropout_samples: int = 0, seed: int = 0
    ) -> None:
        """Compiles nothing yet.

        Args:
          spec: The model's.
          batch_size: Compounds at a time, about.
          dropout_samples: Passes of MC dropout a member, 0 for none.
          seed: Of these.
        """
        self._batch_size = batch_size
        self._key = jax.random.key(seed) if dropout_samples else None
        self._run = jax.jit(functools.partial(predict_with_spread, spec, samples=dropout_samples))

    def __call__(
        self, model: ActivityModel, described: Described
    ) -> tuple[Float[np.ndarray, "m t *k"], Float[np.ndarray, "m t *k"]]:
        """Gives predictions and their spread, see `predict_with_spread`, a row a compound."""
        variables = jax.tree.map(jnp.asarray, dict(model.variables))
        spec = model.spec
        tail = (len(spec.assays), *((spec.n_classes,) if spec.n_classes else ()))
        mean, spread = (np.zeros((len(described.rows), *tail), np.float32) for _ in range(2))
        if not len(described.rows):
            return mean, spread
        for batch in evaluation_batches(described, batch_size=self._batch_size):
            found = self._run(variables, batch, key=self._key)
            valid = np.asarray(batch["valid"]).reshape(-1)
            rows = np.asarray(batch["index"]).reshape(-1)[valid]
            places = np.searchsorted(described.rows, rows)
            mean[places], spread[places] = (np.asarray(part)[valid] for part in found)
        return mean, spread
