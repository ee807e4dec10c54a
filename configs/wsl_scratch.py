"""A compact network trained with weak labels from random weights, for small machines.

Command:  launch/train.py --config configs/wsl_scratch.py --workdir runs/wsl_scratch \
            --config.data.store=PROJECT/outputs/single-cells
Hardware: two CPU cores, shared with other work: about 10 minutes.
Score:    not measured on a small screen since the network is `compact`; on a large one see
          configs/wsl_cells.py. Where the stains are DNA, ER, RNA, AGP and Mito, begin with
          configs/wsl_small.py.
"""

from cellml.experiment.wsl_presets import scratch as get_config
from cellml.experiment.wsl_presets import smoke

__all__ = ["get_config", "smoke"]
