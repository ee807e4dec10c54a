"""Assays of the Broad Institute from structures: graph network, Morgan bits, similarity, fusion.

Command:  launch/activity_study.py --config configs/activity_broad.py --workdir runs/broad \
            --config.folder=../shared/data/activity \
            --published=../shared/data/activity/moshkov_natcomm2023/predictions
Hardware: two CPU cores: about 1.5 hours.
Score:    mean of the medians over folds. 32 assays: CS-TK .6998, CS-MF .679, CS-GC .658, chosen
          by validation .694; logistic regression .682. 81 assays: maximum of the three .633, CS-TK
          .622, CS-GC .533, CS-MF .514, chosen .524; logistic regression .573
          (benchmarks/RESULTS.md).

Two tables (81 assays of 12,936 compounds, 86 % missing; 32 assays of 5,240, 15 % missing), the
published scaffold folds 0 to 3, each held out in turn. Epochs are chosen on validation compounds,
taken from the other folds by scaffold; so is, for each fold, the predictor or fusion in the row
"CS, chosen". Settings: cellml/experiment/activity_study_presets.py.
"""

from cellml.experiment.activity_study_presets import broad as get_config
from cellml.experiment.activity_study_presets import smoke

__all__ = ["get_config", "smoke"]
