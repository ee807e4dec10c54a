"""Feed-forward networks: the head behind a graph network, or the whole of a model on fingerprints.

Layers are initialised as Chemprop's two versions do: `xavier` (normal, biases 0; version 1) or
`torch` (PyTorch's default for linear layers; version 2).
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": nn.relu,
    "leakyrelu": lambda x: nn.leaky_relu(x, 0.1),
    "tanh": jnp.tanh,
    "selu": nn.selu,
    "elu": nn.elu,
}
"""By Chemprop's names in lower case."""

INITS = ("xavier", "torch")

Affine = tuple[Float[Array, "i o"], Float[Array, " o"] | None]
"""Kernel and bias of a linear layer."""


class Weights(nn.Module):
    """Kernel and bias of a linear layer, for callers that multiply in parts.

    Attributes:
      features: Width of the output.
      use_bias: Whether there is a bias.
      initializer: One of `INITS`.
    """

    features: int
    use_bias: bool = True
    initializer: str = "xavier"

    @nn.compact
    def __call__(self, in_features: int) -> Affine:
        """Gives the kernel [in_features, features] and the bias, None without one."""
        if self.initializer not in INITS:
            raise ValueError(
                f"initializer {self.initializer!r}, expected one of {', '.join(INITS)}"
            )
        bound = max(in_features, 1) ** -0.5

        def uniform(key: PRNGKeyArray, shape: tuple[int, ...]) -> Array:
            return jax.random.uniform(key, shape, jnp.float32, -bound, bound)

        is_torch = self.initializer == "torch"
        kernel_init = uniform if is_torch else nn.initializers.xavier_normal()
        kernel = self.param("kernel", kernel_init, (in_features, self.features))
        if not self.use_bias:
            return jnp.asarray(kernel), None
        bias_init = uniform if is_torch else nn.initializers.zeros_init()
        return jnp.asarray(kernel), jnp.asarray(self.param("bias", bias_init, (self.features,)))


def affine(x: Float[Array, "n i"], weights: Affine) -> Float[Array, "n o"]:
    """Multiplies by the kernel and adds the bias, if there is one."""
    kernel, bias = weights
    product = x @ kernel
    return product if bias is None else product + bias[None, :]


class Mlp(nn.Module):
    """Linear layers with activation and dropout between them.

    Attributes:
      out: Width of the output.
      hidden: Widths of the hidden layers; none makes a linear model.
      dropout: Share of the hidden units that are left out in training.
      input_dropout: Likewise of the inputs (Chemprop 1 has the same as `dropout`).
      activation: A key of `ACTIVATIONS`.
      initializer: One of `INITS`.
    """

    out: int
    hidden: tuple[int, ...] = (300,)
    dropout: float = 0.0
    input_dropout: float = 0.0
    activation: str = "relu"
    initializer: str = "xavier"

    @nn.compact
    def __call__(self, x: Float[Array, "b f"], train: bool = False) -> Float[Array, "b o"]:
        """Gives logits, or whatever the output means."""
        act = activation_named(self.activation)
        x = nn.Dropout(self.input_dropout, deterministic=not train)(x)
        for i, features in enumerate((*self.hidden, self.out)):
            if i:
                x = nn.Dropout(self.dropout, deterministic=not train)(act(x))
            x = affine(
                x, Weights(features, initializer=self.initializer, name=f"layer_{i}")(x.shape[1])
            )
        return x


def activation_named(name: str) -> Callable[[Array], Array]:
    """Returns one of `ACTIVATIONS`.

    Raises:
      ValueError: There is none of this name.
    """
    if name not in ACTIVATIONS:
        raise ValueError(f"activation {name!r}, expected one of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]
