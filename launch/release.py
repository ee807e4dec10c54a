"""Makes a model that ships out of a training run: see `cellml.commands.release`.

launch/release.py --run runs/unet_nuclei --manual-dir DSB2018 --out cellml/weights/pretrained
"""

from cellml import platform

platform.configure()

import typer

from cellml.commands.release import main

if __name__ == "__main__":
    typer.run(main)
