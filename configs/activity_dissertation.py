"""Section 3.5 of the dissertation: 17 predictors of structure, morphology, expression, all fusions.

Command:  launch/activity_study.py --config configs/activity_dissertation.py --workdir runs/study \
            --config.folder=DATA [--published=PREDICTIONS]
Hardware: made for a cluster; not run at full size here. Each training is resumed, and skipped when
          finished, so that several nights will do.
Score:    published, assays of 270 with a median AUROC > .9 / > .7: CS 16 / 102, GE 19 / 71, MO-BC
          28 / 102, late fusion of all 28 / 117, best of singles and late fusion 57 / 174.

DATA holds assays.csv (SMILES, scaffold_fold, a column an assay), assay_metadata.csv (columns
PUMA_ASSAY_ID, ASSAY_TYPE), and features by a column of SMILES or row by row: mo.csv, mobc.csv
(batch-corrected), ge.csv, ges.csv; others by --config.features.GE=FILE. `smoke` runs it on a
simulated screen. Settings: cellml/experiment/activity_study_presets.py.
"""

from cellml.experiment.activity_study_presets import dissertation as get_config
from cellml.experiment.activity_study_presets import smoke

__all__ = ["get_config", "smoke"]
