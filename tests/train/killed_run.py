"""A small training run for a test that kills it: `python -m tests.train.killed_run WORKDIR [STEP]`.

With STEP the process kills itself, without warning, while the checkpoint of that step is written.
"""

import os
import signal
import sys
import threading
from pathlib import Path

import jax
import numpy as np

from cellml.train import checkpoint
from cellml.train.loop import fit
from cellml.train.optim import make_optimizer
from cellml.train.state import TrainState
from tests.train.tasks import batches_of, mlp_task, points, rows

DATA = points(64)


def run(workdir: Path, **changes) -> TrainState:
    """Trains for 12 steps with everything switched on that has to survive a stop."""
    parts = [rows(DATA, np.arange(40)), rows(DATA, np.arange(40, 64))]
    arguments = {
        "steps": 12,
        "seed": 4,
        "init_batch": points(2),
        "evaluate": lambda: parts,
        "eval_every": 6,
        "checkpoint_every": 4,
        "log_every": 3,
        "ema_decay": 0.9,
        "devices": jax.local_devices()[:1],
        "config": {"lr": 0.02, "model": {"hidden": 16}},
        "progress": False,
        "curves": False,
        "tensorboard": False,
    } | changes
    tx = make_optimizer({"name": "adamw", "learning_rate": 0.02})
    batches = arguments.pop("batches", batches_of(DATA, 16))
    task = arguments.pop("task", mlp_task(noise=0.3, stats=True))
    return fit(task, tx, batches, workdir=workdir, **arguments)


def kill_while_saving(step: int) -> None:
    """Kills this process as soon as the temporary folder of a checkpoint is seen."""
    save = checkpoint.save

    def deadly_save(workdir: Path, state: TrainState, **kwargs) -> Path:
        if int(state.step) == step:
            threading.Thread(target=_kill_at, args=(workdir, step), daemon=True).start()
        return save(workdir, state, **kwargs)

    checkpoint.save = deadly_save


def _kill_at(workdir: Path, step: int) -> None:
    folder = workdir / checkpoint.FOLDER
    while not list(folder.glob(f"{step}*")):
        pass
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        kill_while_saving(int(sys.argv[2]))
    run(Path(sys.argv[1]))
