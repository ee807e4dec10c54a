"""Which compounds and assays to learn from, how to split them, how to join predictions.

Arrays in, arrays out, on the host; molecules are read in `cellml.data`.
"""

from cellml.screening.filters import FilterResult, FilterStep, filter_screen
from cellml.screening.fusion import (
    BestOf,
    Stacking,
    best_of,
    fit_stacking,
    fuse,
    stack_folds,
)
from cellml.screening.leakage import IdentityLeak, LeakageReport, leakage_report
from cellml.screening.splits import (
    balanced_parts,
    clustered_folds,
    codes_of,
    column_folds,
    grouped_folds,
    joined_groups,
    keep_together,
    random_folds,
    random_parts,
)

__all__ = [
    "BestOf",
    "FilterResult",
    "FilterStep",
    "IdentityLeak",
    "LeakageReport",
    "Stacking",
    "balanced_parts",
    "best_of",
    "clustered_folds",
    "codes_of",
    "column_folds",
    "filter_screen",
    "fit_stacking",
    "fuse",
    "grouped_folds",
    "joined_groups",
    "keep_together",
    "leakage_report",
    "random_folds",
    "random_parts",
    "stack_folds",
]
