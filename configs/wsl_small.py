"""The shipped network `cells`, trained on to tell the treatments of a small screen apart.

Command:  launch/train.py --config configs/wsl_small.py --workdir runs/wsl_small \
            --config.data.store=PROJECT/outputs/single-cells
Hardware: two CPU cores: 5 minutes.
Score:    simulated screen of 13,620 cells: accuracy over 18 classes .122 with plates left out, .366
          with cells left out; mAP of mechanisms .698 raw, .716 sphered (plates left out), that of
          classical features .666 and .611, see benchmarks/RESULTS.md.
"""

from cellml.experiment.wsl_presets import small as get_config
from cellml.experiment.wsl_presets import smoke

__all__ = ["get_config", "smoke"]
