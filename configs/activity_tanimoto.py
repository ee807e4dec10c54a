"""Similarity to the training compounds, one weight each: kernel ridge regression on Morgan counts.

Command:  launch/train.py --config configs/activity_tanimoto.py --workdir runs/tanimoto \
            --config.data.path=ASSAYS.csv
          (`cellml activity train --preset tanimoto` does the same from options.)
Hardware: two CPU cores.
Score:    see configs/activity_broad.py, CS-TK.

Settings: cellml/experiment/activity_presets.py.
"""

from cellml.experiment.activity_presets import smoke
from cellml.experiment.activity_presets import tanimoto as get_config

__all__ = ["get_config", "smoke"]
