"""The network `cells` that ships: weak labels on 96 treatments and 40 plates of a simulated screen.

Command:  launch/train.py --config configs/wsl_cells.py --workdir runs/wsl_cells
          (renders the screen first)
Hardware: TODO
Score:    TODO
"""

from cellml.experiment.wsl_presets import pretraining as get_config
from cellml.experiment.wsl_presets import smoke

__all__ = ["get_config", "smoke"]
