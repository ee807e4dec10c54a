"""The D-MPNN of Chemprop 2 with its defaults.

Command:  launch/train.py --config configs/activity_chemprop_v2.py --workdir runs/chemprop_v2 \
            --config.data.path=ASSAYS.csv
          (`cellml activity train` does the same from options.)
Hardware: two CPU cores.
Score:    MoleculeNet, scaffold-balanced, seeds 0 to 2, 30 epochs (tox21: 10): bbbp
          .911, bace .830, tox21 .743 AUROC, delaney .940, lipo .640 RMSE; Chemprop
          2.3.1 on the same splits .904, .817, .745, .986, .638. benchmarks/RESULTS.md
          has the spread.

Settings: cellml/experiment/activity_presets.py.
"""

from cellml.experiment.activity_presets import chemprop_v2 as get_config
from cellml.experiment.activity_presets import smoke

__all__ = ["get_config", "smoke"]
