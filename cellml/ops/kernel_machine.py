"""Tanimoto similarity of fingerprints, and a machine of it: similarities times weights."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped, UInt8

LEVELS = 4
"""Counts of an environment that are told apart, up from the highest as one."""


def tanimoto(
    a: Float[Array, "a f"], b: Float[Array, "l b f"], *, parts: int = 1
) -> Float[Array, "a b"]:
    """Shared over all: the sum of the smaller of two counts over the sum of the larger.

    For bits the intersection over the union. Differentiable in `a`, piecewise linear in the counts.

    Args:
      a: Fingerprints, bits or counts.
      b: Likewise level by level, see `levels_of`; l is 1 for bits.
      parts: Fingerprints of f / parts side by side; the similarity is the mean of theirs.

    Returns:
      Within [0, 1]; 0 where both are empty.

    Source: Ralaivola et al. 2005, Neural Networks 18:1093 (MinMax kernel of counts).
    """
    width = a.shape[1] // parts
    pieces = [slice(i * width, (i + 1) * width) for i in range(parts)]
    found = [_tanimoto(a[:, piece], b[:, :, piece]) for piece in pieces]
    return jnp.mean(jnp.stack(found), axis=0)


def _tanimoto(a: Float[Array, "a f"], b: Float[Array, "l b f"]) -> Float[Array, "a b"]:
    shared = jnp.zeros((a.shape[0], b.shape[1]), a.dtype)
    size = jnp.zeros((a.shape[0],), a.dtype)
    for level, other in enumerate(b):
        mine = jnp.clip(a - level, 0.0, 1.0)
        shared = shared + mine @ other.T
        size = size + jnp.sum(mine, axis=1)
    total = size[:, None] + jnp.sum(b, axis=(0, 2))[None, :] - shared
    return shared / jnp.maximum(total, 1e-6)


def levels_of(fingerprints: Shaped[np.ndarray, "n f"], n_levels: int) -> UInt8[np.ndarray, "l n g"]:
    """Packs fingerprints: level i says where the count is above i; 8 bits a byte.

    Args:
      fingerprints: Bits or counts.
      n_levels: 1 for bits.

    Returns:
      Packed levels, of f / 8 bytes, rounded up.
    """
    return np.stack([np.packbits(fingerprints > level, axis=1) for level in range(n_levels)])


def unpack(levels: UInt8[Array, "l n g"], size: int) -> Float[Array, "l n f"]:
    """The inverse of `levels_of`: 0 and 1.

    Args:
      levels: Packed.
      size: Length f of a fingerprint.

    Returns:
      What `tanimoto` takes as `b`.
    """
    return jnp.unpackbits(levels, axis=2, count=size).astype(jnp.float32)


def kernel_machine(
    machine: Mapping[str, Array], fingerprint: Float[Array, "b f"], *, parts: int = 1
) -> Float[Array, "b t"]:
    """What a kernel machine says of compounds.

    Args:
      machine: `compounds` [l n g] from `levels_of`, `weights` [n t] and `offset` [t].
      fingerprint: Of the compounds.
      parts: See `tanimoto`.

    Returns:
      One output an assay.
    """
    compounds = unpack(machine["compounds"], fingerprint.shape[1])
    similarity = tanimoto(fingerprint, compounds, parts=parts)
    weighed = jnp.matmul(similarity, machine["weights"], precision=jax.lax.Precision.HIGHEST)
    return weighed + machine["offset"][None]
