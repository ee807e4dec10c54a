"""The shipped network `cells`, trained on to tell the treatments of a small screen apart.

Command:  launch/train.py --config configs/wsl_small.py --workdir runs/wsl_small \
            --config.data.store=PROJECT/outputs/single-cells
Hardware: two CPU cores: 5 minutes.
Score:    simulated screen of 12,145 cells, plates left out: accuracy .124 over 18 classes (top 5
          .417), mAP of mechanisms .677 raw, .771 sphered; classical features .542 and .655, see
          benchmarks/RESULTS.md.
"""

from cellml.experiment.wsl_presets import small as get_config
from cellml.experiment.wsl_presets import smoke

__all__ = ["get_config", "smoke"]
