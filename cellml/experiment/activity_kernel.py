"""Training without steps: kernel machines on fingerprints, `model.representation` tanimoto."""

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Integer, UInt8
from ml_collections import ConfigDict

from cellml.data.scaffolds import murcko_scaffolds
from cellml.errors import UsageError
from cellml.experiment.activity_data import Described
from cellml.experiment.activity_scores import BEST, summary
from cellml.ops.kernel_machine import levels_of
from cellml.screening.fusion import sigmoid
from cellml.screening.kernel_ridge import KernelFit, fit_kernel
from cellml.screening.splits import codes_of
from cellml.tasks.activity import ActivityModel, ActivitySpec
from cellml.tasks.activity_models import MODEL, save_activity
from cellml.tasks.activity_training import scales_of

COMPOUNDS_MAX = 20_000
"""Of the training part: the matrix of similarities takes 4 bytes a pair, and is copied."""
LEAVES_OUT = ("scaffold", "compound")


def train_kernel(
    config: ConfigDict,
    workdir: Path,
    spec: ActivitySpec,
    compounds: Described,
    smiles: Sequence[str],
    labels: Float[np.ndarray, "m t"],
) -> Float32[np.ndarray, "m t"]:
    """Fits a kernel machine and writes it to `workdir/model.safetensors`.

    Penalty and sharing are chosen by `train.best`, by what is said of each compound without those
    of its scaffold, and so is how strongly the outputs speak: no compounds need to be set aside.
    See `cellml.screening.kernel_ridge`.

    Args:
      config: Has `kernel`: `penalties`, `shared_penalty`, `sharings`, `leave_out`.
      workdir: The run's folder.
      spec: Of the model.
      compounds: Those that train.
      smiles: Of these.
      labels: Readouts of these.

    Returns:
      Predictions of the compounds, each without those of its scaffold.

    Raises:
      UsageError: Too many compounds, none with a readout, or an option is unknown.
    """
    n, leave_out = len(compounds.rows), config.kernel.leave_out
    if n > COMPOUNDS_MAX:
        raise UsageError(
            f"{n:,} training compounds: a kernel of all pairs is meant for up to "
            f"{COMPOUNDS_MAX:,}; take --preset morgan or cellml"
        )
    if leave_out not in LEAVES_OUT:
        raise UsageError(
            f"kernel.leave_out: found {leave_out!r}, one of {', '.join(LEAVES_OUT)} expected"
        )
    if config.train.best not in BEST:
        raise UsageError(
            f"train.best: found {config.train.best!r}, one of {', '.join(BEST)} expected"
        )
    learns = np.asarray(np.isfinite(labels).any(axis=1))
    scales = scales_of(spec, labels[learns], None, scale_features=False)
    standard = labels
    if spec.kind == "regression":
        standard = (labels - scales.target_mean) / scales.target_scale
    groups = np.arange(n)
    if leave_out == "scaffold":
        groups = codes_of(murcko_scaffolds(smiles, workers=config.data.workers))
    assert compounds.fingerprint is not None
    similarity = similarities(compounds.fingerprint, spec.levels, spec.fingerprint.n_kinds)
    fit, said = _fit(config, spec, similarity[np.ix_(learns, learns)], standard[learns],
                     groups[learns])  # fmt: skip
    weights = np.float32(said.scale) * fit.weights
    machine = {
        "compounds": levels_of(compounds.fingerprint[learns], spec.levels),
        "weights": weights,
        "offset": said.offset,
    }
    variables = {"params": {"network": machine}, "scales": scales._asdict()}
    chosen = {"penalty": fit.penalty, "sharing": fit.sharing, "scale": said.scale}
    card = {"chosen": chosen, "score": fit.score, "config": config.to_dict()}
    save_activity(workdir / MODEL, ActivityModel(spec, variables), card=card)
    outputs = np.empty(labels.shape, np.float32)
    outputs[~learns] = said.offset + similarity[np.ix_(~learns, learns)] @ weights
    outputs[learns] = said.offset + np.float32(said.scale) * fit.left_out
    found = outputs if spec.kind == "regression" else sigmoid(outputs)
    return (found * scales.target_scale + scales.target_mean).astype(np.float32)


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


class _Said(NamedTuple):
    """How weighed similarities become outputs: each assay's own at no similarity, and a factor."""

    offset: Float32[np.ndarray, " t"]
    scale: float


def _fit(
    config: ConfigDict,
    spec: ActivitySpec,
    similarity: Float32[np.ndarray, "n n"],
    labels: Float32[np.ndarray, "n t"],
    groups: Integer[np.ndarray, " n"],
) -> tuple[KernelFit, _Said]:
    """The best fit, and what becomes of it."""
    best, offset = config.train.best, _offset(spec, labels)

    def rate(left_out: Float[np.ndarray, "n t"]) -> float:
        found = offset + np.float32(_scale(spec, left_out, labels, offset)) * left_out
        scores = summary(spec.kind, labels, found if spec.kind == "regression" else sigmoid(found))
        if best not in scores:
            raise UsageError(
                f"train.best: {best!r} is no score of kind {spec.kind!r}; known: "
                f"{', '.join(sorted(scores))}"
            )
        return scores[best] * (1 if BEST[best] == "max" else -1)

    with _showing() as progress:
        fit = fit_kernel(
            similarity,
            labels,
            groups,
            penalties=tuple(map(float, config.kernel.penalties)),
            shared_penalty=float(config.kernel.shared_penalty),
            sharings=tuple(map(float, config.kernel.sharings)),
            rate=rate,
            progress=progress,
        )
    print(
        f"kernel of {len(labels)} compounds: penalty {fit.penalty:g}, sharing {fit.sharing:g}; "
        f"each {config.kernel.leave_out} left out in turn: {best} {abs(fit.score):.4g}"
    )
    return fit, _Said(offset, _scale(spec, fit.left_out, labels, offset))


@contextlib.contextmanager
def _showing() -> Iterator[Callable[[int, int], None]]:
    """A bar of the regressions, where somebody watches."""
    from rich.progress import Progress

    with Progress(transient=True, disable=not sys.stdout.isatty()) as bar:
        task = bar.add_task("regressions", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _offset(spec: ActivitySpec, labels: Float[np.ndarray, "n t"]) -> Float32[np.ndarray, " t"]:
    """What an assay's output is without any similarity: 0, or the logit of its share of hits."""
    if spec.kind == "regression":
        return np.zeros(labels.shape[1], np.float32)
    known = np.isfinite(labels)
    share = (np.nansum(np.where(known, labels, 0), 0) + 0.5) / (known.sum(0) + 1)
    return np.log(share / (1 - share)).astype(np.float32)


def _scale(
    spec: ActivitySpec,
    outputs: Float[np.ndarray, "n t"],
    truth: Float[np.ndarray, "n t"],
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
