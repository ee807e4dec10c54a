"""Training without steps: kernel machines on fingerprints, `model.representation` tanimoto."""

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float32
from ml_collections import ConfigDict

from cellml.errors import UsageError
from cellml.experiment.activity_data import Described
from cellml.experiment.activity_scores import BEST, summary
from cellml.ops.kernel_machine import levels_of, tanimoto, unpack
from cellml.screening.kernel_ridge import KernelFit, fit_kernel
from cellml.tasks.activity import ActivityModel, ActivitySpec
from cellml.tasks.activity_models import MODEL, save_activity
from cellml.tasks.activity_training import scales_of

COMPOUNDS_MAX = 20_000
"""Of the training part: the matrix of similarities takes 4 bytes a pair, and is copied."""
SPARE = 8
"""Where the split leaves nothing for validation, one training compound in so many is."""
BLOCK = 1024


def train_kernel(
    config: ConfigDict,
    workdir: Path,
    spec: ActivitySpec,
    training: Described,
    validation: Described,
    both: Described,
    labels: Float[np.ndarray, "n t"],
) -> Float32[np.ndarray, "v t"]:
    """Fits a kernel machine and writes it to `workdir/model.safetensors`.

    Penalty and sharing are chosen by `train.best` on the validation compounds, and so is how
    strongly the outputs speak; see `cellml.screening.kernel_ridge`. Then, with `kernel.refit`, they
    train as well.

    Args:
      config: Has `kernel`: `penalties`, `shared_penalty`, `sharings`, `refit`.
      workdir: The run's folder.
      spec: Of the model.
      training: Compounds that train.
      validation: Compounds to choose by; may be none.
      both: Training and validation compounds with any readout.
      labels: Readouts of all rows of the table.

    Returns:
      Predictions of the validation compounds by the fit that has not seen them.

    Raises:
      UsageError: Too many compounds or too few, or `train.best` is unknown.
    """
    n = len(both.rows)
    if n > COMPOUNDS_MAX:
        raise UsageError(
            f"{n:,} training compounds: a kernel of all pairs is meant for up to "
            f"{COMPOUNDS_MAX:,}; take --preset morgan or cellml"
        )
    scales = scales_of(spec, labels[training.rows], None, scale_features=False)
    standard = labels.astype(np.float32)
    if spec.kind == "regression":
        standard = (standard - scales.target_mean) / scales.target_scale
    learning, choosing, rng = training, validation, np.random.default_rng(config.seed)
    if not len(validation.rows):
        if n < SPARE:
            raise UsageError(f"{n} training compounds and none for validation: too few")
        spare = rng.permutation(n) < n // SPARE
        learning, choosing = (training.take(np.flatnonzero(side)) for side in (~spare, spare))
    fit, scale, heard = _fit(config, spec, learning, choosing, standard)
    if config.kernel.refit or not len(validation.rows):
        learning, fit = both, _fit_again(config, spec, both, standard, fit)
    assert learning.fingerprint is not None
    machine = {
        "compounds": levels_of(learning.fingerprint, spec.levels),
        "weights": np.float32(scale) * fit.weights,
        "offset": _offset(spec, standard[learning.rows]),
    }
    variables = {"params": {"network": machine}, "scales": scales._asdict()}
    chosen = {"penalty": fit.penalty, "sharing": fit.sharing, "scale": scale}
    card = {"chosen": chosen, "score": fit.score, "config": config.to_dict()}
    save_activity(workdir / MODEL, ActivityModel(spec, variables), card=card)
    heard = heard * scales.target_scale + scales.target_mean
    return heard if len(validation.rows) else heard[:0]


def _fit(
    config: ConfigDict,
    spec: ActivitySpec,
    training: Described,
    validation: Described,
    labels: Float[np.ndarray, "n t"],
) -> tuple[KernelFit, float, Float32[np.ndarray, "v t"]]:
    """The best fit, what its outputs are to be multiplied by, and its predictions."""
    best = config.train.best
    if best not in BEST:
        raise UsageError(f"train.best: found {best!r}, one of {', '.join(BEST)} expected")
    truth = labels[validation.rows].astype(np.float32)
    learned = labels[training.rows]

    def outputs(weighted: Float[np.ndarray, "v t"]) -> tuple[np.ndarray, float]:
        offset = _offset(spec, learned)
        scale = _scale(spec, weighted, truth, offset)
        found = offset + np.float32(scale) * weighted
        return (found if spec.kind == "regression" else _sigmoid(found)), scale

    def rate(weighted: Float[np.ndarray, "v t"]) -> float:
        found = summary(spec.kind, truth, outputs(weighted)[0])
        if best not in found:
            raise UsageError(
                f"train.best: {best!r} is no score of kind {spec.kind!r}; known: "
                f"{', '.join(sorted(found))}"
            )
        return found[best] * (1 if BEST[best] == "max" else -1)

    heard = _similarities(spec, validation, training)
    with _showing() as progress:
        fit = fit_kernel(
            _similarities(spec, training, training),
            learned,
            penalties=tuple(map(float, config.kernel.penalties)),
            shared_penalty=float(config.kernel.shared_penalty),
            sharings=tuple(map(float, config.kernel.sharings)),
            validation=heard,
            rate=rate,
            progress=progress,
        )
    found, scale = outputs(heard @ fit.weights)
    print(
        f"kernel of {len(training.rows)} compounds: penalty {fit.penalty:g}, sharing "
        f"{fit.sharing:g}; {len(validation.rows)} validation compounds: {best} {abs(fit.score):.4g}"
    )
    return fit, scale, found.astype(np.float32)


@contextlib.contextmanager
def _showing() -> Iterator[Callable[[int, int], None]]:
    """A bar of the regressions, where somebody watches."""
    from rich.progress import Progress

    with Progress(transient=True, disable=not sys.stdout.isatty()) as bar:
        task = bar.add_task("regressions", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _fit_again(
    config: ConfigDict,
    spec: ActivitySpec,
    training: Described,
    labels: Float[np.ndarray, "n t"],
    fit: KernelFit,
) -> KernelFit:
    """What was chosen, on more compounds."""
    again = fit_kernel(
        _similarities(spec, training, training),
        labels[training.rows],
        penalties=(fit.penalty,),
        shared_penalty=float(config.kernel.shared_penalty),
        sharings=(fit.sharing,),
    )
    return again._replace(score=fit.score)


def _similarities(
    spec: ActivitySpec, compounds: Described, others: Described
) -> Float32[np.ndarray, "a b"]:
    """Tanimoto similarity of all pairs, a block of rows at a time."""
    assert compounds.fingerprint is not None
    assert others.fingerprint is not None
    packed = jnp.asarray(levels_of(others.fingerprint, spec.levels))
    levels = unpack(packed, others.fingerprint.shape[1])
    run = jax.jit(functools.partial(tanimoto, parts=spec.fingerprint.n_kinds))
    rows = [
        np.asarray(run(jnp.asarray(block, jnp.float32), levels))
        for block in np.array_split(compounds.fingerprint, max(1, -(-len(compounds.rows) // BLOCK)))
    ]
    return np.concatenate(rows)


def _offset(spec: ActivitySpec, labels: Float[np.ndarray, "n t"]) -> Float32[np.ndarray, " t"]:
    """What an assay's output is without any similarity: 0, or the logit of its share of hits."""
    if spec.kind == "regression":
        return np.zeros(labels.shape[1], np.float32)
    known = np.isfinite(labels)
    share = (np.nansum(np.where(known, labels, 0), 0) + 0.5) / (known.sum(0) + 1)
    return np.log(share / (1 - share)).astype(np.float32)


def _scale(
    spec: ActivitySpec,
    outputs: Float[np.ndarray, "v t"],
    truth: Float[np.ndarray, "v t"],
    offset: Float[np.ndarray, " t"],
) -> float:
    """One factor for all outputs that fits the readouts best: least squares, or log loss."""
    known = np.isfinite(truth)
    x, y = outputs[known].astype(np.float64), truth[known].astype(np.float64)
    start = np.broadcast_to(offset, truth.shape)[known].astype(np.float64)
    if not x.size or not np.square(x).sum():
        return 1.0
    if spec.kind == "regression":
        return float((x * y).sum() / np.square(x).sum())
    factor = 1.0
    for _ in range(50):
        p = _sigmoid(start + factor * x)
        slope, curve = (x * (y - p)).sum() - factor, (x**2 * p * (1 - p)).sum() + 1.0
        step = np.clip(slope / curve, -1, 1)
        factor += step
        if abs(step) < 1e-6:
            break
    return float(max(factor, 0.0))


def _sigmoid(x: Float[np.ndarray, "*s"]) -> Float[np.ndarray, "*s"]:
    return 0.5 * (1 + np.tanh(x / 2))
