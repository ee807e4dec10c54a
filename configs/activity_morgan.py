"""An ensemble of feed-forward networks on Morgan fingerprints (CS-MF).

Command:  launch/train.py --config configs/activity_morgan.py --workdir runs/morgan \
            --config.data.path=ASSAYS.csv
          (`cellml activity train` does the same from options.)
Hardware: two CPU cores.
Score:    not measured yet.

Settings: cellml/experiment/activity_presets.py.
"""

from cellml.experiment.activity_presets import morgan as get_config
from cellml.experiment.activity_presets import smoke

__all__ = ["get_config", "smoke"]
