"""Our ensemble of D-MPNNs on the molecular graph.

Command:  launch/train.py --config configs/activity_cellml.py --workdir runs/cellml \
            --config.data.path=ASSAYS.csv
          (`cellml activity train` does the same from options.)
Hardware: two CPU cores.
Score:    delaney .873 RMSE (Chemprop 2: .986), bbbp .937 AUROC (.894; one seed),
          scaffold-balanced, as benchmarks/bench_moleculenet.py makes them.

Settings: cellml/experiment/activity_presets.py.
"""

from cellml.experiment.activity_presets import cellml as get_config
from cellml.experiment.activity_presets import smoke

__all__ = ["get_config", "smoke"]
