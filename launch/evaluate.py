"""Scores a segmenter on a data set, with and without test-time augmentation.

launch/evaluate.py --model nuclei --data dsb2018 --split validation --manual-dir DIR
"""

import sys

from cellml.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "evaluate")
    main()
