"""Kernel ridge regression: similarity to the training compounds, substructures and properties.

Command:  launch/train.py --config configs/activity_tanimoto.py --workdir runs/tanimoto \
            --config.data.path=ASSAYS.csv
          (`cellml activity train --preset tanimoto` does the same from options.)
Hardware: two CPU cores: a minute a fold of 32 assays and 3,900 compounds.
Score:    32 assays of the Broad Institute, scaffold folds 0 to 3: mean of the medians .6998,
          beside .682 of a logistic regression on Morgan bits (benchmarks/RESULTS.md).

Settings: cellml/experiment/activity_presets.py.
"""

from cellml.experiment.activity_presets import smoke
from cellml.experiment.activity_presets import tanimoto as get_config

__all__ = ["get_config", "smoke"]
