"""Weakly supervised EfficientNet-B0 from random weights, for small screens and small machines.

Command:  launch/train.py --config configs/wsl_scratch.py --workdir runs/wsl_scratch \
            --config.data.store=PROJECT/outputs/single-cells
Hardware: two CPU cores, shared with other work: 5 to 6 minutes.
Score:    simulated screen of 5,879 cells, plates left out: accuracy .165 over 18 classes,
          mAP of mechanisms .584 raw, .675 sphered; random weights give .882 there, see
          benchmarks/RESULTS.md.
"""

from cellml.experiment.wsl_presets import scratch as get_config
from cellml.experiment.wsl_presets import smoke

__all__ = ["get_config", "smoke"]
