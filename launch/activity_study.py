"""Studies which modality predicts which assays, and what their fusion brings.

launch/activity_study.py --config configs/activity_broad.py --workdir runs/broad   # a whole study
launch/activity_study.py DATA.csv --feature MO=morphology.csv --out runs/study
launch/activity_study.py --out runs/study          # a simulated screen whose truth is known
"""

import sys

from cellml.platform import configure

configure()

from cellml.commands import activity_study, activity_study_run
from cellml.errors import UserError

if __name__ == "__main__":
    described = any(flag.lstrip("-").split("=")[0] == "config" for flag in sys.argv[1:])
    command = activity_study_run if described else activity_study
    try:
        sys.exit(command.main(sys.argv[1:]))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
