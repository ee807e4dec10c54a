"""Studies which modality predicts which assays, and what their fusion brings.

launch/activity_study.py DATA.csv --feature MO=morphology.csv --out runs/study
launch/activity_study.py --out runs/study          # a simulated screen whose truth is known
"""

import sys

from cellml.platform import configure

configure()

from cellml.commands.activity_study import main
from cellml.errors import UserError

if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
