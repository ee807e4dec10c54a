"""Trains what a config describes; the same as `cellml train`.

launch/train.py --config configs/unet_nuclei.py --workdir runs/nuclei [--config.train.steps=100]

One process uses every GPU or TPU core of its machine. See launch/README.md.
"""

import sys

from cellml.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "train")
    main()
