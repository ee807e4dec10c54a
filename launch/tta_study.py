"""Studies what test-time augmentation gains, per checkpoint and image.

launch/tta_study.py --group augmented=runs/a/epochs --group plain=runs/b/epochs --out runs/tta_study
"""

import sys

from cellml.platform import configure

configure()

from cellml.commands.tta_study import main
from cellml.errors import UserError

if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
