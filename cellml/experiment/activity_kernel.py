"""Training without steps: kernel machines on fingerprints, `model.representation` tanimoto."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8
from ml_collections import ConfigDict

from cellml.errors import UsageError
from cellml.experiment.activity_data import Described
from cellml.experiment.activity_scores import BEST, summary
from cellml.ops.kernel_machine import levels_of
from cellml.screening.fusion import sigmoid
from cellml.screening.kernel_ridge import KernelFit, fit_kernel
from cellml.tasks.activity import ActivityModel, ActivitySpec
from cellml.tasks.activity_models import MODEL, save_activity
from cellml.tasks.activity_training import scales_of

COMPOUNDS_MAX = 20_000
"""Of the training part: the matrix of similarities takes 4 bytes a pair, and is copied."""
SPARE = 8
"""Where the split leaves nothing for validation, one training compound in so many is."""


def train_kernel(
    config: ConfigDict,
    workdir: Path,
    spec: ActivitySpec,
    compounds: Described,
    validates: Bool[np.ndarray, " n"],
    labels: Float[np.ndarray, "r t"],
) -> Float32[np.ndarray, "v t"]:
    """Fits a kernel machine and writes it to `workdir/model.safetensors`.

    Penalty and sharing are chosen by `train.best` on the validation compounds, and so is how
    strongly the outputs speak; see `cellml.screening.kernel_ridge`. Then, with `kernel.refit`, they
    train as well.

    Args:
      config: Has `kernel`: `penalties`, `shared_penalty`, `sharings`, `refit`.
      workdir: The run's folder.
      spec: Of the model.
      compounds: Those that train and those to choose by.
      validates: Which are the latter; may be none.
      labels: Readouts of all rows of the table.

    Returns:
      Predictions of the validation compounds by the fit that has not seen them.

    Raises:
      UsageError: Too many compounds or too few, or `train.best` is unknown.
    """
    n = len(compounds.rows)
    if n > COMPOUNDS_MAX:
        raise UsageError(
            f"{n:,} training compounds: a kernel of all pairs is meant for up to "
            f"{COMPOUNDS_MAX:,}; take --preset morgan or cellml"
        )
    mine = labels[compounds.rows].astype(np.float32)
    tested = np.asarray(np.isfinite(mine).any(axis=1))
    scales = scales_of(spec, mine[tested & ~validates], None, scale_features=False)
    if spec.kind == "regression":
        mine = (mine - scales.target_mean) / scales.target_scale
    rng, chooses = np.random.default_rng(config.seed), validates
    if not validates.any():
        if n < SPARE:
            raise UsageError(f"{n} training compounds and none for validation: too few")
        chooses = rng.permutation(n) < n // SPARE
    assert compounds.fingerprint is not None
    similarity = similarities(compounds.fingerprint, spec.levels, spec.fingerprint.n_kinds)
    learns = tested & ~chooses
    fit, scale, heard = _fit(config, spec, similarity, mine, learns, chooses)
    if config.kernel.refit or not validates.any():
        learns, fit = tested, _fit_again(config, similarity, mine, tested, fit)
    machine = {
        "compounds": levels_of(compounds.fingerprint[learns], spec.levels),
        "weights": np.float32(scale) * fit.weights,
        "offset": _offset(spec, mine[learns]),
    }
    variables = {"params": {"network": machine}, "scales": scales._asdict()}
    chosen = {"penalty": fit.penalty, "sharing": fit.sharing, "scale": scale}
    card = {"chosen": chosen, "score": fit.score, "config": config.to_dict()}
    save_activity(workdir / MODEL, ActivityModel(spec, variables), card=card)
    heard = heard * scales.target_scale + scales.target_mean
    return heard if validates.any() else heard[:0]


def similarities(
    fingerprints: UInt8[np.ndarray, "n f"], n_levels: int, parts: int
) -> Float32[np.ndarray, "n n"]:
    """What `tanimoto` gives for all pairs of a set, with products of what occurs in it alone.

    Args:
      fingerprints: Bits or counts.
      n_levels: See `levels_of`.
      parts: Fingerprints side by side, see `tanimoto`.

    Returns:
      Similarities; twice their memory is needed.
    """
    n = len(fingerprints)
    found = np.zeros((n, n), np.float32)
    for part in np.split(fingerprints, parts, axis=1):
        shared, size = np.zeros((n, n), np.float32), np.zeros(n, np.float32)
        for level in range(n_levels):
            there = part > level
            there = there[:, there.any(axis=0)].astype(np.float32)
            shared += there @ there.T  # half the work, as NumPy knows it to be symmetric
            size += there.sum(axis=1)
        total = size[:, None] + size[None, :]
        total -= shared
        shared /= np.maximum(total, 1e-6, out=total)
        found += shared
    found /= parts
    return found


def _fit(
    config: ConfigDict,
    spec: ActivitySpec,
    similarity: Float32[np.ndarray, "n n"],
    labels: Float32[np.ndarray, "n t"],
    learns: Bool[np.ndarray, " n"],
    chooses: Bool[np.ndarray, " n"],
) -> tuple[KernelFit, float, Float32[np.ndarray, "v t"]]:
    """The best fit, what its outputs are to be multiplied by, and its predictions."""
    best = config.train.best
    if best not in BEST:
        raise UsageError(f"train.best: found {best!r}, one of {', '.join(BEST)} expected")
    truth, learned = labels[chooses], labels[learns]
    offset = _offset(spec, learned)

    def outputs(weighted: Float[np.ndarray, "v t"]) -> tuple[np.ndarray, float]:
        scale = _scale(spec, weighted, truth, offset)
        found = offset + np.float32(scale) * weighted
        return (found if spec.kind == "regression" else sigmoid(found)), scale

    def rate(weighted: Float[np.ndarray, "v t"]) -> float:
        found = summary(spec.kind, truth, outputs(weighted)[0])
        if best not in found:
            raise UsageError(
                f"train.best: {best!r} is no score of kind {spec.kind!r}; known: "
                f"{', '.join(sorted(found))}"
            )
        return found[best] * (1 if BEST[best] == "max" else -1)

    near = similarity[np.ix_(chooses, learns)]
    with _showing() as progress:
        fit = fit_kernel(
            similarity[np.ix_(learns, learns)],
            learned,
            penalties=tuple(map(float, config.kernel.penalties)),
            shared_penalty=float(config.kernel.shared_penalty),
            sharings=tuple(map(float, config.kernel.sharings)),
            validation=near,
            rate=rate,
            progress=progress,
        )
    found, scale = outputs(near @ fit.weights)
    print(
        f"kernel of {int(learns.sum())} compounds: penalty {fit.penalty:g}, sharing "
        f"{fit.sharing:g}; {int(chooses.sum())} validation compounds: {best} {abs(fit.score):.4g}"
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
    similarity: Float32[np.ndarray, "n n"],
    labels: Float32[np.ndarray, "n t"],
    learns: Bool[np.ndarray, " n"],
    fit: KernelFit,
) -> KernelFit:
    """What was chosen, on more compounds."""
    again = fit_kernel(
        similarity[np.ix_(learns, learns)],
        labels[learns],
        penalties=(fit.penalty,),
        shared_penalty=float(config.kernel.shared_penalty),
        sharings=(fit.sharing,),
    )
    return again._replace(score=fit.score)


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
        p = sigmoid(start + factor * x)
        slope, curve = (x * (y - p)).sum() - factor, (x**2 * p * (1 - p)).sum() + 1.0
        step = np.clip(slope / curve, -1, 1)
        factor += step
        if abs(step) < 1e-6:
            break
    return float(max(factor, 0.0))
