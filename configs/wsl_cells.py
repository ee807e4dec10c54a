"""The network `cells` that ships: weak labels on 96 treatments of simulated screens.

Command:  launch/train.py --config configs/wsl_cells.py --workdir runs/wsl_cells
          (renders the screen first). The weights that ship were corrected for illumination
          (`cellml profile prepare`) and begun from 2,500 steps on a screen of 40 plates and
          weaker treatments: --config.data.simulate.effect=.6 --config.data.simulate.n_plates=40
          --config.data.simulate.n_batches=40 --config.train.steps=5000, stopped at 2,500; then
          --config.init_weights=.../step_002500.safetensors.
Hardware: two CPU cores, shared with other work: 35 minutes for the last 4,000 steps.
Score:    accuracy .330 over 97 classes on the plate left out; cellml/weights/pretrained/cells.md.
"""

from cellml.experiment.wsl_presets import pretraining as get_config
from cellml.experiment.wsl_presets import smoke

__all__ = ["get_config", "smoke"]
