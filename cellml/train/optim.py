"""Optimisers and learning-rate schedules by name, through plain dictionaries."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

from cellml.train.config import Config

Schedule = Callable[[Any], Float[Array, ""] | float]
"""Step (from 0) to learning rate or factor."""


def constant(learning_rate: float, *, warmup_steps: int = 0) -> Schedule:
    """The same rate at every step, after a linear warm-up from 0."""
    return _warm_up(lambda step: jnp.full_like(_f32(step), learning_rate), warmup_steps)


def cosine(
    learning_rate: float, *, steps: int, warmup_steps: int = 0, final_fraction: float = 0.0
) -> Schedule:
    """Half a cosine from the peak to `final_fraction` of it, after a linear warm-up from 0.

    Args:
      learning_rate: The peak, reached at `warmup_steps`.
      steps: Step at which the end value is reached, warm-up included; it stays there.
      warmup_steps: Length of the warm-up.
      final_fraction: End value divided by the peak.

    Returns:
      The schedule.

    Source: Loshchilov and Hutter 2017, SGDR, without restarts.
    """
    if steps <= warmup_steps:
        raise ValueError(f"cosine: steps {steps} must exceed warmup_steps {warmup_steps}")

    def rate(step: Any) -> Array:
        done = jnp.clip((_f32(step) - warmup_steps) / (steps - warmup_steps), 0.0, 1.0)
        shape = 0.5 * (1.0 + jnp.cos(jnp.pi * done))
        return learning_rate * (final_fraction + (1.0 - final_fraction) * shape)

    return _warm_up(rate, warmup_steps)


def noam(
    learning_rate: float,
    *,
    steps: int,
    warmup_steps: int,
    initial_fraction: float = 0.1,
    final_fraction: float = 0.1,
) -> Schedule:
    """Linear from `initial_fraction` to the peak, then exponential to `final_fraction` of it.

    This is what chemprop calls Noam (with 1e-4, 1e-3, 1e-4 by default), not the inverse square
    root of Vaswani et al. 2017.

    Args:
      learning_rate: The peak, reached at `warmup_steps`.
      steps: Step at which the end value is reached; it stays there.
      warmup_steps: Length of the linear part.
      initial_fraction: First value divided by the peak.
      final_fraction: End value divided by the peak, above 0.

    Returns:
      The schedule.

    Source: chemprop v1, `nn_utils.NoamLR`.
    """
    if steps <= warmup_steps:
        raise ValueError(f"noam: steps {steps} must exceed warmup_steps {warmup_steps}")
    if final_fraction <= 0:
        raise ValueError(f"noam: final_fraction {final_fraction} must be positive")

    def rate(step: Any) -> Array:
        now = _f32(step)
        rising = initial_fraction + (1.0 - initial_fraction) * now / max(warmup_steps, 1)
        done = jnp.clip((now - warmup_steps) / (steps - warmup_steps), 0.0, 1.0)
        falling = jnp.float32(final_fraction) ** done
        return learning_rate * jnp.where(now < warmup_steps, rising, falling)

    return rate


def piecewise(
    learning_rate: float,
    *,
    boundaries: Sequence[int],
    factors: Sequence[float],
    warmup_steps: int = 0,
) -> Schedule:
    """Multiplies the rate at given steps.

    Args:
      learning_rate: The first rate.
      boundaries: Ascending steps.
      factors: One a boundary; the rate is multiplied from that step on.
      warmup_steps: Length of a linear warm-up from 0.

    Returns:
      The schedule.
    """
    if len(boundaries) != len(factors) or list(boundaries) != sorted(set(boundaries)):
        raise ValueError(
            f"piecewise: boundaries {list(boundaries)} must ascend and be as many as factors "
            f"{list(factors)}"
        )

    def rate(step: Any) -> Array:
        value = jnp.full_like(_f32(step), learning_rate)
        for boundary, factor in zip(boundaries, factors, strict=True):
            value = value * jnp.where(_f32(step) >= boundary, factor, 1.0)
        return value

    return _warm_up(rate, warmup_steps)


SCHEDULES: dict[str, Callable[..., Schedule]] = {
    "constant": constant,
    "cosine": cosine,
    "noam": noam,
    "piecewise": piecewise,
}
"""Learning-rate schedules by name: `(learning_rate, **options) -> schedule`."""


def adam(
    rate: Schedule,
    *,
    weight_decay: float = 0.0,
    decay_over_size: bool = False,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
) -> optax.GradientTransformation:
    """Adam.

    Args:
      rate: Learning rate by step.
      weight_decay: An L2 term in the gradient, as in torch.optim.Adam.
      decay_over_size: See `decay_by_size`.
      b1: Decay of the first moment.
      b2: Decay of the second moment.
      eps: Added to the root of the second moment.

    Returns:
      The optax transformation.
    """
    decay = decay_by_size(weight_decay) if decay_over_size else _l2(weight_decay)
    return optax.chain(decay, optax.adam(rate, b1=b1, b2=b2, eps=eps))


def adamw(
    rate: Schedule,
    *,
    weight_decay: float = 1e-4,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
) -> optax.GradientTransformation:
    """Adam with decoupled weight decay, scaled by the learning rate; arguments as in `adam`.

    Returns:
      The optax transformation.
    """
    return optax.adamw(
        rate, b1=b1, b2=b2, eps=eps, weight_decay=weight_decay, mask=weight_decay_mask
    )


def sgd(
    rate: Schedule,
    *,
    weight_decay: float = 0.0,
    decay_over_size: bool = False,
    momentum: float = 0.9,
    nesterov: bool = False,
) -> optax.GradientTransformation:
    """Gradient descent with momentum.

    Args:
      rate: Learning rate by step.
      weight_decay: An L2 term in the gradient.
      decay_over_size: See `decay_by_size`.
      momentum: Decay of the velocity, 0 for none.
      nesterov: Look ahead along the velocity.

    Returns:
      The optax transformation.
    """
    decay = decay_by_size(weight_decay) if decay_over_size else _l2(weight_decay)
    return optax.chain(decay, optax.sgd(rate, momentum=momentum or None, nesterov=nesterov))


OPTIMIZERS: dict[str, Callable[..., optax.GradientTransformation]] = {
    "adam": adam,
    "adamw": adamw,
    "sgd": sgd,
}
"""Optimisers by name: `(schedule, **options) -> transformation`."""


def weight_decay_mask(params: PyTree) -> PyTree:
    """True for the leaves that decay: kernels and embeddings, no biases, no norms' scales."""

    def decays(path: tuple[Any, ...], leaf: Any) -> bool:
        name = str(getattr(path[-1], "key", "")) if path else ""
        return leaf.ndim > 1 and name not in ("bias", "scale")

    return jax.tree_util.tree_map_with_path(decays, params)


def decay_by_size(weight_decay: float) -> optax.GradientTransformation:
    """The gradient of weight_decay * sum of squares / number of elements, of every parameter.

    All parameters decay but the scales and biases of norms.

    Source: the loss of matterport/Mask_RCNN.
    """

    def update(updates: PyTree, state: Any, params: PyTree | None = None) -> tuple[PyTree, Any]:
        def one(path: tuple[Any, ...], gradient: Array, leaf: Array) -> Array:
            parent: Any = params
            for entry in path[:-1]:
                parent = parent[entry.key]
            of_norm = isinstance(parent, Mapping) and "scale" in parent
            return gradient if of_norm else gradient + (2.0 * weight_decay / leaf.size) * leaf

        return jax.tree_util.tree_map_with_path(one, updates, params), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def clip_each(max_norm: float) -> optax.GradientTransformation:
    """Scales the gradient of each parameter down to a norm of its own (Keras' `clipnorm`)."""

    def one(gradient: Array) -> Array:
        norm = jnp.sqrt(jnp.sum(jnp.square(gradient)))
        return gradient * jnp.minimum(1.0, max_norm / jnp.maximum(norm, 1e-12))

    return optax.stateless(lambda updates, params: jax.tree.map(one, updates))


def make_schedule(config: Config) -> Schedule:
    """Builds the schedule of an optimiser's config, see `make_optimizer`."""
    options = dict(config.get("schedule") or {"name": "constant"})
    build = _lookup(SCHEDULES, options.pop("name", "constant"), "schedule")
    return _call(build, f"schedule {build.__name__}", config["learning_rate"], options)


def make_optimizer(config: Config) -> optax.GradientTransformation:
    """Builds an optimiser from a config.

    Args:
      config: `name` (of OPTIMIZERS), `learning_rate`, optionally `schedule` (`name` of SCHEDULES
        and its options), `clip_norm` (global norm of the gradient, 0 or None for none),
        `clip_each_norm` (of each parameter's gradient), and the options of the optimiser
        (`weight_decay`, `b1`, `momentum`, ...).

    Returns:
      The optax transformation: clipping, decay, the optimiser and its schedule.

    Raises:
      ValueError: A name or an option is unknown; the message lists the known ones.
    """
    for required in ("name", "learning_rate"):
        if required not in config:
            raise ValueError(f"optimizer config: {required!r} is missing, found {sorted(config)}")
    build = _lookup(OPTIMIZERS, config["name"], "optimizer")
    common = ("name", "learning_rate", "schedule", "clip_norm", "clip_each_norm")
    options = {name: config[name] for name in config if name not in common}
    tx = _call(build, f"optimizer {config['name']}", make_schedule(config), options)
    clip_norm = config.get("clip_norm")
    if clip_norm:
        tx = optax.chain(optax.clip_by_global_norm(clip_norm), tx)
    each = config.get("clip_each_norm")
    return optax.chain(clip_each(each), tx) if each else tx


def _lookup(table: Mapping[str, Any], name: str, kind: str) -> Any:
    if name not in table:
        raise ValueError(f"unknown {kind} {name!r}, known: {', '.join(sorted(table))}")
    return table[name]


def _call(build: Callable[..., Any], what: str, first: Any, options: Mapping[str, Any]) -> Any:
    import inspect

    parameters = list(inspect.signature(build).parameters.values())[1:]
    known = [p.name for p in parameters]
    unknown = sorted(set(options) - set(known))
    missing = [p.name for p in parameters if p.default is p.empty and p.name not in options]
    if unknown or missing:
        problem = f"unknown options {unknown}" if unknown else f"options {missing} are missing"
        raise ValueError(f"{what}: {problem}, known: {', '.join(known)}")
    return build(first, **options)


def _l2(weight_decay: float) -> optax.GradientTransformation:
    if not weight_decay:
        return optax.identity()
    return optax.add_decayed_weights(weight_decay, mask=weight_decay_mask)


def _warm_up(schedule: Schedule, steps: int) -> Schedule:
    if not steps:
        return schedule
    return lambda step: schedule(step) * jnp.minimum(_f32(step) / steps, 1.0)


def _f32(step: Any) -> Array:
    return jnp.asarray(step).astype(jnp.float32)
