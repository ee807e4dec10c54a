"""Evidential losses: a network that says how much it has seen of what it predicts.

Instead of a logit it gives the parameters of a distribution over the probability of a hit (a Beta
distribution, from two outputs an assay) or over mean and variance of a readout (a
normal-inverse-gamma distribution, from four).

Source: Sensoy et al. 2018, NeurIPS (classes); Amini et al. 2020, NeurIPS, and Soleimany et al.
2021, ACS Cent. Sci. 7:1356 (readouts); the loss functions of Chemprop 1, which these equal.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import digamma, gammaln
from jaxtyping import Array, Float

LEAST = 1e-6  # keeps the parameters off the ends of their ranges


class Moments(NamedTuple):
    """What an evidential network says of each readout.

    Attributes:
      mean: Probability of a hit, or value.
      variance: Of the probability; of a readout, with its noise and what the network does not know.
    """

    mean: Float[Array, "*b t"]
    variance: Float[Array, "*b t"]


def beta_moments(raw: Float[Array, "*b t 2"]) -> Moments:
    """Moments of the probability of a hit, from outputs for no hit and hit."""
    alpha = jax.nn.softplus(raw) + 1.0
    total = jnp.sum(alpha, axis=-1)
    mean = alpha[..., 1] / total
    return Moments(mean, mean * (1.0 - mean) / (total + 1.0))


def nig_moments(raw: Float[Array, "*b t 4"]) -> Moments:
    """Moments of a readout, from outputs for its mean and the distribution's nu, alpha and beta."""
    mean, nu, alpha, beta = _nig(raw)
    return Moments(mean, beta / (alpha - 1.0) * (1.0 + 1.0 / nu))


def dirichlet_loss(
    raw: Float[Array, "b t 2"], target: Float[Array, "b t"], weight: float = 0.0
) -> Float[Array, "b t"]:
    """Expected squared error of the probabilities, and what misleading evidence costs.

    Args:
      raw: Outputs for no hit and hit; softplus + 1 gives the Dirichlet parameters.
      target: 0 or 1.
      weight: Of the Kullback-Leibler divergence from "nothing known", without the true class.

    Returns:
      Loss of each readout.
    """
    alpha = jax.nn.softplus(raw) + 1.0
    hot = jnp.stack([1.0 - target, target], axis=-1)
    total = jnp.sum(alpha, axis=-1, keepdims=True)
    p = alpha / total
    error = jnp.sum((hot - p) ** 2 + p * (1.0 - p) / (total + 1.0), axis=-1)
    wrong = hot + (1.0 - hot) * alpha
    total = jnp.sum(wrong, axis=-1, keepdims=True)
    divergence = gammaln(total[..., 0]) - jnp.sum(gammaln(wrong), axis=-1)
    divergence += jnp.sum((wrong - 1.0) * (digamma(wrong) - digamma(total)), axis=-1)
    return error + weight * divergence


def nig_loss(
    raw: Float[Array, "b t 4"], target: Float[Array, "b t"], weight: float = 0.0
) -> Float[Array, "b t"]:
    """Negative log-likelihood (of a Student distribution), and what evidence at an error costs.

    Args:
      raw: See `nig_moments`.
      target: Values, standardised.
      weight: Of the absolute error times the evidence, 2 nu + alpha.

    Returns:
      Loss of each readout.
    """
    mean, nu, alpha, beta = _nig(raw)
    omega = 2.0 * beta * (1.0 + nu)
    error = target - mean
    loss = 0.5 * jnp.log(jnp.pi / nu) - alpha * jnp.log(omega)
    loss += (alpha + 0.5) * jnp.log(nu * error**2 + omega)
    loss += gammaln(alpha) - gammaln(alpha + 0.5)
    return loss + weight * jnp.abs(error) * (2.0 * nu + alpha)


EVIDENTIAL_LOSSES: dict[str, Callable[..., Array]] = {
    "dirichlet": dirichlet_loss,
    "nig": nig_loss,
}
"""By name; called with the network's outputs, targets and the weight of the evidence."""


def _nig(raw: Float[Array, "*b t 4"]) -> tuple[Array, Array, Array, Array]:
    nu, alpha, beta = (jax.nn.softplus(raw[..., i]) + LEAST for i in (1, 2, 3))
    return raw[..., 0], nu, alpha + 1.0, beta
