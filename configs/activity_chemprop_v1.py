"""The D-MPNN of Chemprop 1 with its defaults.

Command:  launch/train.py --config configs/activity_chemprop_v1.py --workdir runs/chemprop_v1 \
            --config.data.path=ASSAYS.csv
          (`cellml activity train` does the same from options.)
Hardware: two CPU cores.
Score:    not measured: as chemprop_v2 but for features, 30 epochs and batches of 50.

Settings: cellml/experiment/activity_presets.py.
"""

from cellml.experiment.activity_presets import chemprop_v1 as get_config
from cellml.experiment.activity_presets import smoke

__all__ = ["get_config", "smoke"]
