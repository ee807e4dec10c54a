"""The shipped network `cells`, trained on to tell the treatments of a small screen apart.

Command:  launch/train.py --config configs/wsl_small.py --workdir runs/wsl_small \
            --config.data.store=PROJECT/outputs/single-cells
Hardware: TODO
Score:    TODO
"""

from cellml.experiment.wsl_presets import small as get_config
from cellml.experiment.wsl_presets import smoke

__all__ = ["get_config", "smoke"]
