"""Quality control by PCA: wells that lie apart, and why, so that somebody looks at their images."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Integer
from scipy import stats

from cellml.profiling.normalize import location_and_scale
from cellml.profiling.sphering import control_spectrum


class QualityReport(NamedTuple):
    """What to look at, the worst first.

    Attributes:
      components: Of every well on the first k principal components.
      explained: Share of the variance of each component.
      distance: Root of the mean squared robust z-score over the components; about 1 in the
        middle of a normal cloud. Infinity for a well that is not finite.
      outlier: Wells beyond `limit`.
      limit: Distance that a well of a normal cloud passes with the given probability.
      to_view: Rows of the outliers, the farthest first.
      worst_component: Component with the largest z-score, of every well (0 if not finite).
      leading_features: For each component the features with the largest loadings, descending.
    """

    components: Float[np.ndarray, "n k"]
    explained: Float[np.ndarray, " k"]
    distance: Float[np.ndarray, " n"]
    outlier: Bool[np.ndarray, " n"]
    limit: float
    to_view: Int[np.ndarray, " o"]
    worst_component: Int[np.ndarray, " n"]
    leading_features: Int[np.ndarray, "k l"]


class PlateQuality(NamedTuple):
    """Outliers by plate: a plate with many of them failed as a whole.

    Attributes:
      plate: Codes, ascending.
      n_wells: Wells.
      n_outliers: Outliers among them.
      median_distance: Of its wells.
    """

    plate: np.ndarray
    n_wells: Int[np.ndarray, " p"]
    n_outliers: Int[np.ndarray, " p"]
    median_distance: Float[np.ndarray, " p"]


def quality_report(
    wells: Float[np.ndarray, "n f"],
    *,
    n_components: int = 10,
    false_alarms: float = 0.001,
    n_leading: int = 5,
) -> QualityReport:
    """Finds wells that lie apart in the space of the first principal components.

    Args:
      wells: Well profiles, best sphered. A well with NaN or infinity is an outlier.
      n_components: Components looked at, at most wells - 1 and features.
      false_alarms: Share of wells of a normal cloud that would be called outliers.
      n_leading: Features named per component.

    Returns:
      Components, distances and the wells to look at.

    Raises:
      ValueError: Fewer than three finite wells, or an option is out of range.
    """
    finite = np.isfinite(wells).all(1)
    if finite.sum() < 3:
        raise ValueError(f"expected 3 finite wells or more, found {finite.sum()}")
    if n_components < 1 or not 0 < false_alarms < 1:
        raise ValueError(
            f"expected n_components >= 1 and 0 < false_alarms < 1, found {n_components}, "
            f"{false_alarms}"
        )
    spectrum = control_spectrum(wells[finite], method="PCA")
    total = spectrum.eigenvalues.sum()
    k = min(n_components, int((spectrum.eigenvalues > 1e-12 * total).sum()))
    if k == 0:
        raise ValueError("all finite wells are equal: there is no variance to look at")
    loadings = spectrum.basis[:, :k] / spectrum.norms[:k]
    loadings = loadings * np.where(loadings[np.abs(loadings).argmax(0), np.arange(k)] < 0, -1, 1)
    components = np.full((len(wells), k), np.nan)
    components[finite] = (wells[finite].astype(np.float64) - spectrum.mean) @ loadings
    centre, scale = location_and_scale(components[finite], method="mad_robustize")
    # Half the wells on one value: the robust spread is 0 though the wells differ.
    scale = np.where(scale > 0, scale, components[finite].std(0))
    z = np.abs(components - centre) / scale
    distance = np.where(finite, np.sqrt((z**2).mean(1)), np.inf)
    limit = float(np.sqrt(stats.chi2.isf(false_alarms, k) / k))
    outlier = distance > limit
    order = np.argsort(-distance, kind="stable")
    return QualityReport(
        components=components,
        explained=spectrum.eigenvalues[:k] / total,
        distance=distance,
        outlier=outlier,
        limit=limit,
        to_view=order[: int(outlier.sum())],
        worst_component=np.where(finite, np.where(np.isnan(z), 0, z).argmax(1), 0),
        leading_features=np.argsort(-np.abs(loadings), axis=0, kind="stable")[:n_leading].T,
    )


def plate_quality(report: QualityReport, plates: Integer[np.ndarray, " n"]) -> PlateQuality:
    """Counts the outliers of a report by plate; `plates` is the plate of each well."""
    codes, plate = np.unique(plates, return_inverse=True)
    median = np.array([np.median(report.distance[plate == p]) for p in range(codes.size)])
    return PlateQuality(
        codes,
        np.bincount(plate, minlength=codes.size),
        np.bincount(plate[report.outlier], minlength=codes.size),
        median,
    )
