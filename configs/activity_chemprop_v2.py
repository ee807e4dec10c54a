"""The D-MPNN of Chemprop 2 with its defaults.

Command:  launch/train.py --config configs/activity_chemprop_v2.py --workdir runs/chemprop_v2 \
            --config.data.path=ASSAYS.csv
          (`cellml activity train` does the same from options.)
Hardware: two CPU cores.
Score:    not measured yet.

Settings: cellml/experiment/activity_presets.py.
"""

from cellml.experiment.activity_presets import chemprop_v2 as get_config
from cellml.experiment.activity_presets import smoke

__all__ = ["get_config", "smoke"]
