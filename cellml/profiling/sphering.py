"""Sphering (whitening) of profiles against controls; float64 on the host.

With C = V diag(s) V' the covariance of the controls (over n, centred) and lambda on its
eigenvalues, ZCA is Y = (X - mean) V diag(1 / sqrt(s + lambda)) V'. Where there are fewer controls
than features most eigenvalues are 0 and V is never built: with the centred controls Z and the
eigenvectors U of the small matrix ZZ' the same transform is

    Y = (X - mean) / sqrt(lambda) + (X - mean) Z' U diag(g) U' Z,
    g = -1 / (n sqrt(s + lambda) sqrt(lambda) (sqrt(s + lambda) + sqrt(lambda))),

which has no small denominators: directions of tiny eigenvalues are as accurate as the others.
"""

from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple, get_args

import numpy as np
import scipy.linalg
from jaxtyping import Float

Method = Literal["ZCA", "PCA", "ZCA-cor", "PCA-cor", "dissertation-printed"]
"""`"ZCA"` turns back to the features, `"PCA"` gives components by decreasing variance, `"-cor"`
scales features to variance 1 first. `"dissertation-printed"` is the formula in the text of the
dissertation, X U (D + lambda)^-1 U': exponent -1 and no centring. The code had neither slip."""

ROWS = 1024
"""Profiles that are transformed at a time."""


class ControlSpectrum(NamedTuple):
    """Eigenvalues and directions of the covariance of controls.

    Attributes:
      mean: Of the controls; 0 for an uncentred spectrum.
      scale: Standard deviations of the controls for the "-cor" methods, else 1.
      eigenvalues: Of the covariance, descending; exactly 0 below rounding, as are those beyond r.
      basis: Directions times `norms`: eigenvectors, or Z'U (see the top of the file).
      norms: Lengths of the columns of `basis`: 1, or sqrt(n s).
      n_controls: Number n of controls.
    """

    mean: Float[np.ndarray, " f"]
    scale: Float[np.ndarray, " f"]
    eigenvalues: Float[np.ndarray, " r"]
    basis: Float[np.ndarray, "f r"]
    norms: Float[np.ndarray, " r"]
    n_controls: int

    @property
    def low_rank(self) -> bool:
        """Whether there are fewer directions than features."""
        return self.basis.shape[1] < self.basis.shape[0]


def control_spectrum(
    controls: Float[np.ndarray, "n f"], *, method: str = "ZCA", low_rank: bool | None = None
) -> ControlSpectrum:
    """Decomposes the covariance of controls, once for all regularisations.

    Args:
      controls: Finite, at least two.
      method: See `Method`.
      low_rank: Decompose the n x n matrix; chosen by n < f, if None.

    Returns:
      The spectrum; take the same method in `sphere`.

    Raises:
      ValueError: Unknown method, too few or not finite controls, or a constant feature with a
        "-cor" method.
    """
    _check_method(method)
    n, f = controls.shape
    if n < 2 or f < 1:
        raise ValueError(f"expected at least 2 controls and 1 feature, found {controls.shape}")
    centred = controls.astype(np.float64)
    if not np.isfinite(centred).all():
        raise ValueError("controls are not finite: select features or wells first")
    mean, scale = np.zeros(f), np.ones(f)
    if method != "dissertation-printed":
        mean = centred.mean(0)
        centred = centred - mean
    if method.endswith("-cor"):
        scale = np.sqrt((centred**2).mean(0))
        constant = np.flatnonzero(scale <= 1e-12 * np.abs(mean))
        if constant.size:
            raise ValueError(
                f"{constant.size} features are constant among the controls, the first is column "
                f"{constant[0]}: drop them before method {method!r}"
            )
        centred = centred / scale
    if n < f if low_rank is None else low_rank:
        values, vectors = scipy.linalg.eigh(centred @ centred.T, overwrite_a=True, driver="evd")
        values, vectors = _without_rounding(values[::-1], max(n, f)), vectors[:, ::-1]
        return ControlSpectrum(mean, scale, values / n, centred.T @ vectors, np.sqrt(values), n)
    values, vectors = scipy.linalg.eigh(centred.T @ centred / n, overwrite_a=True, driver="evd")
    values = _without_rounding(values[::-1], max(n, f))
    vectors = np.ascontiguousarray(vectors[:, ::-1])
    return ControlSpectrum(mean, scale, values, vectors, np.ones(f), n)


def sphere(
    profiles: Float[np.ndarray, "m f"],
    spectrum: ControlSpectrum,
    *,
    method: str = "ZCA",
    regularisation: float = 1e-2,
) -> Float[np.ndarray, "m r"]:
    """Spheres profiles with the spectrum of their controls.

    Args:
      profiles: Finite (NaN spreads over its row).
      spectrum: From `control_spectrum` with the same method.
      method: See `Method`.
      regularisation: Lambda >= 0, added to the eigenvalues. With 0, directions in which the
        controls do not vary (beyond rounding) are projected out.

    Returns:
      Computed in float64, in the dtype of the profiles; as many columns as features, or as
      directions of the controls for "PCA" and "PCA-cor".

    Raises:
      ValueError: Unknown method, a negative regularisation, or another number of features.
    """
    _check_method(method)
    if not regularisation >= 0:
        raise ValueError(f"regularisation must be 0 or more, found {regularisation}")
    if profiles.shape[1] != spectrum.mean.size:
        raise ValueError(f"spectrum has {spectrum.mean.size} features, found {profiles.shape[1]}")
    power = -1.0 if method == "dissertation-printed" else -0.5
    varies = spectrum.eigenvalues > 0
    basis, norms = spectrum.basis, spectrum.norms
    if method.startswith("PCA"):
        gain = _gain(spectrum.eigenvalues[varies], regularisation, power) / norms[varies]
        forward, backward, rest = basis[:, varies] * gain * _signs(basis[:, varies]), None, 0.0
    elif regularisation == 0:
        gain = _gain(spectrum.eigenvalues[varies], 0.0, power) / norms[varies] ** 2
        forward, backward, rest = basis[:, varies] * gain, basis[:, varies].T, 0.0
    elif spectrum.low_rank or (norms != 1).any():
        gain = _difference(spectrum.eigenvalues, regularisation, power) / spectrum.n_controls
        forward, backward, rest = basis * gain, basis.T, regularisation**power
    else:
        gain = _gain(spectrum.eigenvalues, regularisation, power)
        forward, backward, rest = basis * gain, basis.T, 0.0
    if backward is not None and len(profiles) > basis.shape[0] and not spectrum.low_rank:
        forward, backward = forward @ backward, None  # one f x f matrix is cheaper
    width = forward.shape[1] if backward is None else backward.shape[1]
    result = np.empty((len(profiles), width), profiles.dtype)
    for start in range(0, len(profiles), ROWS):
        part = profiles[start : start + ROWS].astype(np.float64) - spectrum.mean
        part /= spectrum.scale
        moved = part @ forward
        if backward is not None:
            moved = moved @ backward
        if rest:
            moved += part * rest
        result[start : start + ROWS] = moved
    return result


def sphere_sweep(
    profiles: Float[np.ndarray, "m f"],
    controls: Float[np.ndarray, "n f"],
    regularisations: Iterable[float | None],
    *,
    method: str = "ZCA",
) -> Iterator[tuple[float | None, Float[np.ndarray, "m r"]]]:
    """Spheres profiles with several regularisations from one decomposition.

    Args:
      profiles: Finite.
      controls: Finite, at least two.
      regularisations: Lambdas; None yields the profiles as they are.
      method: See `Method`.

    Yields:
      Pairs of a lambda and the sphered profiles, one at a time.

    Raises:
      ValueError: As for `control_spectrum` and `sphere`.
    """
    spectrum = control_spectrum(controls, method=method)
    for value in regularisations:
        if value is None:
            yield None, profiles
        else:
            yield value, sphere(profiles, spectrum, method=method, regularisation=value)


def _check_method(method: str) -> None:
    if method not in get_args(Method):
        raise ValueError(f"method must be one of {list(get_args(Method))}, found {method!r}")


def _without_rounding(eigenvalues: np.ndarray, size: int) -> np.ndarray:
    """Sets to 0 what is below the rounding of the largest (first) eigenvalue.

    A small lambda would otherwise compete with rounding errors in directions without variance.
    """
    smallest = size * np.finfo(np.float64).eps * max(eigenvalues[0], 0.0)
    return np.where(eigenvalues > smallest, eigenvalues, 0.0)


def _gain(eigenvalues: np.ndarray, regularisation: float, power: float) -> np.ndarray:
    return (eigenvalues + regularisation) ** power


def _difference(eigenvalues: np.ndarray, regularisation: float, power: float) -> np.ndarray:
    """`((s + l)^power - l^power) / s` without cancellation, for the powers -1/2 and -1."""
    if power == -1.0:
        return -1 / ((eigenvalues + regularisation) * regularisation)
    root, root_0 = np.sqrt(eigenvalues + regularisation), np.sqrt(regularisation)
    return -1 / (root * root_0 * (root + root_0))


def _signs(basis: np.ndarray) -> np.ndarray:
    """Makes the largest loading of each component positive: PCA is otherwise free to flip."""
    if not basis.shape[1]:
        return np.ones(0)
    largest = np.abs(basis).argmax(0)
    return np.where(basis[largest, np.arange(basis.shape[1])] < 0, -1.0, 1.0)
