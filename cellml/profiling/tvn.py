"""Typical variation normalisation (TVN): whitening on all controls, then batches are aligned.

After PCA whitening the covariance of the controls of each batch is carried to that of all controls
(CORAL). Both are kept as powers of low rank: a batch has few controls, and never needs a matrix of
components times components.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Integer, Shaped

from cellml.profiling.sphering import ControlSpectrum, control_spectrum, sphere


class CovariancePower(NamedTuple):
    """A power of a covariance plus ridge, `base * I + directions diag(gains) directions'`."""

    base: float
    directions: Float[np.ndarray, "r k"]
    gains: Float[np.ndarray, " k"]

    def times(self, rows: Float[np.ndarray, "m r"]) -> Float[np.ndarray, "m r"]:
        """Rows times this matrix."""
        return rows * self.base + ((rows @ self.directions) * self.gains) @ self.directions.T


class Tvn(NamedTuple):
    """What was fitted on controls.

    Attributes:
      spectrum: Of all controls.
      regularisation: Lambda of the whitening.
      batches: Codes or names of the batches, ascending.
      whiten: Of each batch.
      colour: Of all controls.
    """

    spectrum: ControlSpectrum
    regularisation: float
    batches: Shaped[np.ndarray, " b"]
    whiten: tuple[CovariancePower, ...]
    colour: CovariancePower


def fit_tvn(
    controls: Float[np.ndarray, "n f"],
    batches: Shaped[np.ndarray, " n"],
    *,
    regularisation: float = 1e-6,
    alignment: float = 1.0,
    spectrum: ControlSpectrum | None = None,
) -> Tvn:
    """Fits TVN.

    Args:
      controls: Finite.
      batches: Batch of each control, as integers or texts.
      regularisation: Lambda of the whitening.
      alignment: Added to the eigenvalues of both covariances.
      spectrum: Of the controls with the method "PCA", if it is known already.

    Returns:
      What `apply_tvn` needs.

    Raises:
      ValueError: `alignment` is not positive, or as for `control_spectrum` and `sphere`.
    Source: Ando et al. 2017, bioRxiv 161422; Sun et al. 2016 (CORAL), with `alignment` 1.
    """
    if not alignment > 0:
        raise ValueError(f"alignment must be above 0, found {alignment}")
    spectrum = control_spectrum(controls, method="PCA") if spectrum is None else spectrum
    white = sphere(
        controls.astype(np.float64), spectrum, method="PCA", regularisation=regularisation
    )
    names = np.unique(batches)
    whiten = tuple(_power(white[batches == name], alignment, -0.5) for name in names)
    return Tvn(spectrum, regularisation, names, whiten, _power(white, alignment, 0.5))


def apply_tvn(
    profiles: Float[np.ndarray, "m f"], batches: Shaped[np.ndarray, " m"], fitted: Tvn
) -> Float[np.ndarray, "m r"]:
    """Moves profiles as the controls of their batches were.

    Args:
      profiles: Finite.
      batches: Batch of each.
      fitted: From `fit_tvn`.

    Returns:
      Components, as of `sphere` with "PCA", in the dtype of the profiles.

    Raises:
      ValueError: A batch has no controls.
    """
    if without := sorted({str(b) for b in np.setdiff1d(batches, fitted.batches)}):
        raise ValueError(f"batch {without[0]} has no controls to be aligned by")
    white = sphere(profiles, fitted.spectrum, method="PCA", regularisation=fitted.regularisation)
    for name, whiten in zip(fitted.batches, fitted.whiten, strict=True):
        rows = batches == name
        white[rows] = fitted.colour.times(whiten.times(white[rows].astype(np.float64)))
    return white


def tvn(
    profiles: Float[np.ndarray, "m f"],
    controls: Bool[np.ndarray, " m"],
    batches: Integer[np.ndarray, " m"],
    *,
    regularisation: float = 1e-6,
    alignment: float = 1.0,
) -> Float[np.ndarray, "m r"]:
    """Fits TVN on the controls among some profiles and applies it to all of them.

    Args:
      profiles: Finite.
      controls: Which profiles are controls.
      batches: Batch of each profile.
      regularisation: As in `fit_tvn`.
      alignment: As in `fit_tvn`.

    Returns:
      As of `apply_tvn`.

    Raises:
      ValueError: As for `fit_tvn` and `apply_tvn`.
    """
    fitted = fit_tvn(
        profiles[controls],
        batches[controls],
        regularisation=regularisation,
        alignment=alignment,
    )
    return apply_tvn(profiles, batches, fitted)


def tvn_sweep(
    profiles: Float[np.ndarray, "m f"],
    controls: Bool[np.ndarray, " m"],
    batches: Shaped[np.ndarray, " m"],
    regularisations: Iterable[float | None],
) -> Iterator[tuple[float | None, Float[np.ndarray, "m r"]]]:
    """TVN with several regularisations from one decomposition; as `sphere_sweep`.

    Args:
      profiles: Finite.
      controls: Which profiles are controls.
      batches: Batch of each profile.
      regularisations: Lambdas; None yields the profiles as they are.

    Yields:
      Pairs of a lambda and the profiles, one at a time.

    Raises:
      ValueError: As for `fit_tvn` and `apply_tvn`.
    """
    reference, batch = profiles[controls], batches[controls]
    spectrum = control_spectrum(reference, method="PCA")
    for value in regularisations:
        if value is None:
            yield None, profiles
        else:
            fitted = fit_tvn(reference, batch, regularisation=value, spectrum=spectrum)
            yield value, apply_tvn(profiles, batches, fitted)


def _power(rows: np.ndarray, ridge: float, power: float) -> CovariancePower:
    """(C + ridge I)^power of the covariance C (over n) of some rows."""
    centred = rows - rows.mean(0)
    _, singular, directions = np.linalg.svd(centred, full_matrices=False)
    eigenvalues = singular**2 / len(rows)
    base = ridge**power
    return CovariancePower(base, directions.T, (eigenvalues + ridge) ** power - base)
