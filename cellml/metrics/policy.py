"""What a score is where it would be 0 / 0: the policy for empty images, in one place."""

from typing import Literal, get_args

import jax.numpy as jnp
from jaxtyping import Array, Float

EmptyPolicy = Literal["one", "zero", "nan"]
"""Score of an image where neither the truth nor the prediction has anything.

`"one"` calls it perfect, `"zero"` worthless, `"nan"` undefined: it then counts in no mean.
"""


def empty_value(empty: str) -> float:
    """Returns the score that a policy gives to 0 / 0.

    Raises:
      ValueError: `empty` is not one of the policies.
    """
    values = {"one": 1.0, "zero": 0.0, "nan": float("nan")}
    if empty not in values:
        raise ValueError(f"empty must be one of {list(get_args(EmptyPolicy))}, found {empty!r}")
    return values[empty]


def divide(
    numerator: Float[Array, "*s"], denominator: Float[Array, "*s"], *, empty: str
) -> Float[Array, "*s"]:
    """Divides elementwise; where the denominator is 0 the policy's value stands instead.

    Args:
      numerator: Any sums.
      denominator: Not negative.
      empty: Policy, see `EmptyPolicy`.

    Returns:
      Quotients with finite gradients everywhere (the division is guarded before it happens).

    Raises:
      ValueError: `empty` is not one of the policies.
    """
    value = empty_value(empty)
    defined = denominator > 0
    return jnp.where(defined, numerator / jnp.where(defined, denominator, 1.0), value)
