"""An ensemble of feed-forward networks on Morgan fingerprints (CS-MF).

Command:  launch/train.py --config configs/activity_morgan.py --workdir runs/morgan \
            --config.data.path=ASSAYS.csv
          (`cellml activity train` does the same from options.)
Hardware: two CPU cores.
Score:    32 assays of the Broad Institute, scaffold folds 0 to 3: mean of the medians
          .679, beside .682 of a logistic regression on the same bits
          (benchmarks/RESULTS.md).

Settings: cellml/experiment/activity_presets.py.
"""

from cellml.experiment.activity_presets import morgan as get_config
from cellml.experiment.activity_presets import smoke

__all__ = ["get_config", "smoke"]
