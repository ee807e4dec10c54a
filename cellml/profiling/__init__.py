"""Profiles from single-cell features: aggregation, normalisation, sphering, selection, strength.

Arrays in, arrays out, on the host; linear algebra is in float64. Groups (sites, wells, plates,
treatments) are integer codes, one per row.
"""

from cellml.profiling.aggregate import Profiles, aggregate, group_codes, group_mean, group_median
from cellml.profiling.combine import (
    DISSERTATION_RECIPE,
    CombinedSet,
    Screen,
    Step,
    combine_screens,
)
from cellml.profiling.normalize import Normalised, normalise_profiles
from cellml.profiling.quality import PlateQuality, QualityReport, plate_quality, quality_report
from cellml.profiling.select import select_features
from cellml.profiling.sphering import ControlSpectrum, control_spectrum, sphere, sphere_sweep
from cellml.profiling.strength import Strength, strongest, treatment_strength
from cellml.profiling.tvn import Tvn, apply_tvn, fit_tvn, tvn

__all__ = [
    "DISSERTATION_RECIPE",
    "CombinedSet",
    "ControlSpectrum",
    "Normalised",
    "PlateQuality",
    "Profiles",
    "QualityReport",
    "Screen",
    "Step",
    "Strength",
    "Tvn",
    "aggregate",
    "apply_tvn",
    "combine_screens",
    "control_spectrum",
    "fit_tvn",
    "group_codes",
    "group_mean",
    "group_median",
    "normalise_profiles",
    "plate_quality",
    "quality_report",
    "select_features",
    "sphere",
    "sphere_sweep",
    "strongest",
    "treatment_strength",
    "tvn",
]
