"""Why a model predicts what it does: attributions of compounds of a table, an array an atom."""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from cellml.data.fingerprint_atoms import bit_environments, share_among_atoms
from cellml.data.molecule_codes import parse_molecule
from cellml.experiment.activity_data import Described, evaluation_batches
from cellml.tasks.activity import ActivityModel, ActivitySpec
from cellml.tasks.activity_attribution import Attribution, integrated_gradients
from cellml.types import Batch


class Explanation(NamedTuple):
    """What the output of one compound rests on; means over models and their members.

    Attributes:
      row: Of the compound in its table.
      symbols: Element of each atom, in the order of the SMILES (of its largest fragment, where the
        model sees that alone).
      atoms: Attribution of each atom, in the units of `output`.
      prediction: Probability or value.
      output: The explained logit or value.
      baseline: The same with nothing known of the atoms.
    """

    row: int
    symbols: tuple[str, ...]
    atoms: Float[np.ndarray, " a"]
    prediction: float
    output: float
    baseline: float

    @property
    def error(self) -> float:
        """What the attributions' sum misses of `output` - `baseline`: the completeness error."""
        return float(self.atoms.sum()) - (self.output - self.baseline)


def explain(
    models: Sequence[ActivityModel],
    described: Described,
    smiles: Sequence[str],
    *,
    assay: int,
    category: int = 0,
    steps: int = 64,
    batch_size: int = 64,
) -> list[Explanation]:
    """Explains the predictions of all usable compounds of a table.

    Args:
      models: At least one, of one spec; their explanations are averaged.
      described: The compounds, from `describe`.
      smiles: Of the whole table.
      assay: Number of the assay.
      category: Number of the class, of a multi-class model.
      steps: See `integrated_gradients`.
      batch_size: Compounds at a time.

    Returns:
      One a usable compound, in order.

    Raises:
      ValueError: As from `integrated_gradients`.
    """
    spec = models[0].spec
    if not len(described.rows):
        return []
    run = _compiled(spec, steps)
    chosen = jnp.asarray(assay), jnp.asarray(category)
    parts = [_Parts(len(described.rows)) for _ in models]
    for model, gathered in zip(models, parts, strict=True):
        variables = jax.tree.map(jnp.asarray, dict(model.variables))
        for batch in evaluation_batches(described, batch_size=batch_size):
            gathered.add(run(variables, batch, *chosen), batch, described)
    return [
        _joined(spec, str(smiles[row]), row, [part.of(i) for part in parts])
        for i, row in enumerate(described.rows.tolist())
    ]


@functools.lru_cache(maxsize=4)
def _compiled(spec: ActivitySpec, steps: int) -> Callable[..., Attribution]:
    return jax.jit(functools.partial(integrated_gradients, spec, steps=steps))


class _Parts:
    """One model's attributions, gathered from batches into the order of the compounds."""

    def __init__(self, n: int) -> None:
        self.atoms: list[np.ndarray | None] = [None] * n
        self.bits: list[np.ndarray | None] = [None] * n
        self.numbers = np.zeros((n, 3))

    def add(self, found: Attribution, batch: Batch, described: Described) -> None:
        atoms, bits = (None if x is None else np.asarray(x) for x in (found.atoms, found.bits))
        numbers = np.stack([np.asarray(x) for x in found[2:]], axis=1)
        valid = np.asarray(batch["valid"]).reshape(-1)
        index = np.asarray(batch["index"]).reshape(-1)
        starts = np.zeros(0)
        if atoms is not None:
            starts = np.cumsum([0, *np.asarray(batch["n_node"]).reshape(-1).tolist()])
        for i in np.flatnonzero(valid).tolist():
            place = int(np.searchsorted(described.rows, index[i]))
            self.numbers[place] = numbers[i]
            if atoms is not None:
                self.atoms[place] = atoms[starts[i] : starts[i + 1]]
            if bits is not None:
                self.bits[place] = bits[i]

    def of(self, place: int) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray]:
        return self.atoms[place], self.bits[place], self.numbers[place]


def _joined(spec: ActivitySpec, smiles: str, row: int, found: Sequence[tuple]) -> Explanation:
    """Means over the models; bits handed down to the atoms."""
    molecule = parse_molecule(smiles, largest_fragment=spec.largest_fragment).molecule
    symbols = tuple(atom.GetSymbol() for atom in molecule.GetAtoms())
    total = np.zeros(len(symbols))
    for atoms, bits, _ in found:
        if atoms is not None:
            total += atoms
        if bits is not None:
            fields = spec.fingerprint
            environments = bit_environments(
                molecule, radius=fields.radius, size=fields.size, chirality=fields.chirality
            )
            total += share_among_atoms(environments, bits, len(symbols))
    output, baseline, prediction = np.mean([numbers for _, _, numbers in found], axis=0).tolist()
    return Explanation(row, symbols, total / len(found), prediction, output, baseline)


def largest_attribution(explanations: Sequence[Explanation]) -> float:
    """The largest absolute attribution of any atom, above 0 also where all vanish."""
    largest = max((float(np.abs(e.atoms).max(initial=0)) for e in explanations), default=0.0)
    return largest or 1.0


def rows_of_atoms(
    explanations: Sequence[Explanation],
) -> Iterator[tuple[int, int, str, float]]:
    """Yields row, number, symbol and attribution of every atom."""
    for explanation in explanations:
        for i, symbol in enumerate(explanation.symbols):
            yield explanation.row, i, symbol, float(explanation.atoms[i])
