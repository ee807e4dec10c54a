"""Trains what a config describes.

launch/train.py --config configs/unet_nuclei.py --workdir runs/nuclei [--config.train.steps=100]

One process uses all GPUs (or TPU cores) of its machine. On several machines start one process on
each with --distributed; see launch/README.md.
"""

import sys

from cellml.platform import configure

configure()

from cellml.commands.train import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
