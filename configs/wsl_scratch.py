"""Weakly supervised EfficientNet-B0 from random weights, for small screens and small machines.

Command:  launch/train.py --config configs/wsl_scratch.py --workdir runs/wsl_scratch \
            --config.data.store=PROJECT/outputs/single-cells
Hardware: two CPU cores
"""

from cellml.experiment.wsl_presets import scratch as get_config
from cellml.experiment.wsl_presets import smoke

__all__ = ["get_config", "smoke"]
