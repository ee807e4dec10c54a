"""Weakly supervised EfficientNet-B0 on single cells, as in the dissertation (section 3.4).

Command:  launch/train.py --config configs/wsl_dissertation.py --workdir runs/wsl \
            --config.data.store=PROJECT/outputs/single-cells \
            --config.init_weights=efficientnet-b0_weights.h5
          (`cellml profile train PROJECT` does the same from a project's own settings.)
Hardware: made for one GPU (the dissertation: 3.3 hours on a V100 for 8.3 million cells). Not run at
          this size here. Without --config.data.store it renders a small simulated screen.
Score:    published, folds of enrichment / mAP: BBBC037 24.71 / .1812, BBBC022 51.71 / .0932,
          BBBC036 34.13 / .0652 (plates left out).

The settings, hidden ones too, are spelled out in cellml/experiment/wsl_presets.py.
"""

from cellml.experiment.wsl_presets import dissertation as get_config
from cellml.experiment.wsl_presets import smoke

__all__ = ["get_config", "smoke"]
