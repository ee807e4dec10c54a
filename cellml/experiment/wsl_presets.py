"""Settings of weakly supervised training by name, for `configs/wsl_*.py` and the command line.

What DeepProfiler does without saying so, and `dissertation` states: Nesterov momentum of .9; an L2
penalty of 1e-5 on kernels, whose gradient is 2e-5 times the kernel; drop-connect of .2 scaled by
block; no dropout before the classifier; no input normalisation but each channel's own range, by its
maximum (`deepprofiler-legacy`); classes balanced to the median count in every epoch; validation
balanced once; batch norm by the statistics of each device.
"""

from collections.abc import Callable, Mapping

from ml_collections import ConfigDict, config_dict


def dissertation(scheme: str = "leave_plates_out") -> ConfigDict:
    """EfficientNet-B0 from ImageNet weights, as in the dissertation (section 3.4).

    Args:
      scheme: One of `SCHEMES` of `cellml.experiment.embedding`.
    Returns:
      The config.
    """
    config = ConfigDict()
    config.task = "embedding"
    config.seed = 0
    # ImageNet weights (Keras, timm or torchvision), the Cell Painting CNN, or a model of ours
    config.init_weights = config_dict.placeholder(str)
    config.start_share = 0.0  # of these in the weights that are exported, see `keep_start`
    config.data = ConfigDict(
        {
            "store": config_dict.placeholder(str),  # of `cellml profile export`
            "simulate": {},  # without a store: fields of ScreenDesign
            "edges": False,  # whether cells that the image cuts off train, too
            "split": {
                "scheme": scheme,
                "plates": (),  # that validate; none for the last one
                "treatments": (),  # that are held out
                "column": "",  # of scheme "column": metadata that tell the sides apart
                "training": (),  # its values that train; none for all others
                "validation": (),
                "fraction": 0.6,  # of a well's cells train
                "seed": 0,
            },
        }
    )
    config.model = ConfigDict(
        {
            "variant": "b0",
            "input_px": 0,  # as cut
            "intensity": "deepprofiler-legacy",
            "masked": False,  # whether to show a cell without its neighbours
            "drop_connect": 0.2,
            "norm_momentum": 0.99,
            "classifier_scale": 1.0,
            "dtype": "float32",
        }
    )
    config.augmentation = ConfigDict(
        {
            "zoom_probability": 0.5,
            "zoom_min": 0.8,
            "flip_probability": 0.5,
            "rotate": True,
            "brightness": 0.1,
            "contrast": 0.2,
        }
    )
    config.loss = ConfigDict({"label_smoothing": 0.0})
    config.optimizer = ConfigDict(
        {
            "name": "sgd",
            "learning_rate": 0.005,
            "momentum": 0.9,
            "nesterov": True,
            "weight_decay": 2e-5,
            "schedule": {"name": "constant"},
        }
    )
    config.train = ConfigDict(
        {
            "epochs": 30,
            "batch_size": 32,
            "ema_decay": 0.0,
            "log_every": 50,
            "eval_every_epochs": 1,
            "checkpoint_every_epochs": 5,
        }
    )
    config.eval = ConfigDict({"batch_size": 32, "cells_max": 100_000})
    return config


def scratch(scheme: str = "leave_plates_out") -> ConfigDict:
    """From random weights, for small machines: a compact network, AdamW and a cosine.

    Args:
      scheme: As in `dissertation`.
    Returns:
      The config.
    """
    config = dissertation(scheme)
    config.data.edges = True
    config.model.update(
        variant="compact",
        intensity="minmax",
        drop_connect=0.0,
        norm_momentum=0.9,
        classifier_scale=0.0,
    )
    # Resampling costs as much as the network, and size is what some treatments change.
    config.augmentation.zoom_probability = 0.0
    config.optimizer = ConfigDict(
        {
            "name": "adamw",
            "learning_rate": 2e-3,
            "weight_decay": 1e-2,
            "clip_norm": 1.0,
            "schedule": {
                "name": "cosine",
                "steps": 1500,
                "warmup_steps": 50,
                "final_fraction": 0.01,
            },
        }
    )
    config.loss.label_smoothing = 0.05
    config.train = ConfigDict(
        {
            "steps": 1500,
            "batch_size": 64,
            "ema_decay": 0.0,
            "log_every": 25,
            "eval_every": 150,
            "checkpoint_every": 500,
        }
    )
    config.eval.update(batch_size=64, cells_max=400)
    return config


def small(scheme: str = "leave_plates_out") -> ConfigDict:
    """From the shipped network `cells`, for screens of some thousand cells.

    It knows cells, and has to learn these treatments alone: a network from random weights learns
    what the wells of the training plates look like instead. What is exported lies half-way between
    `cells` and the trained network.

    Args:
      scheme: As in `dissertation`.
    Returns:
      The config.
    """
    config = scratch(scheme)
    config.init_weights, config.start_share = "cells", 0.5
    steps = 1500
    config.optimizer.update(learning_rate=3e-4)
    config.optimizer.schedule.update(steps=steps)
    config.train.update(steps=steps, eval_every=300, checkpoint_every=500)
    config.eval.cells_max = 1500
    return config


def pretraining(scheme: str = "leave_plates_out") -> ConfigDict:
    """How the shipped network `cells` was trained: 96 treatments on simulated plates.

    Every plate is a batch of its own, and the treatments are mechanisms drawn at random, none of
    which `cellml profile init --simulated` uses by default. What the network learns is to see
    shapes and textures, and not to see stainings and illuminations.

    Args:
      scheme: As in `dissertation`.
    Returns:
      The config.
    """
    config = scratch(scheme)
    config.data.simulate = ConfigDict(
        {
            "mechanisms": tuple(f"random{i}" for i in range(100, 196)),
            "n_per_mechanism": 1,
            "n_inactive": 0,
            "n_plates": 30,
            "n_batches": 30,
            "n_rows": 10,
            "n_columns": 10,
            "n_sites": 1,
            "effect": 1.0,
            "seed": 77,
        }
    )
    steps = 4000
    config.optimizer.schedule.update(steps=steps, warmup_steps=200)
    config.train.update(steps=steps, log_every=100, eval_every=500, checkpoint_every=500)
    config.eval.cells_max = 2000
    return config


PRESETS: Mapping[str, Callable[[str], ConfigDict]] = {
    "dissertation": dissertation,
    "scratch": scratch,
    "small": small,
}
"""By the name that `cellml profile train --preset` takes."""


def smoke(config: ConfigDict) -> ConfigDict:
    """Shrinks a config to seconds: a screen of two wells, tiny crops, one step."""
    config.data.simulate = ConfigDict(
        {
            "mechanisms": ("er_stress",),
            "n_per_mechanism": 1,
            "n_inactive": 0,
            "n_plates": 2,
            "n_batches": 1,
            "n_rows": 1,
            "n_columns": 3,
            "n_sites": 1,
            "shape": (128, 128),
            "n_cells": 4,
            "cell_diameter_px": 24.0,
        }
    )
    config.model.input_px = 32
    if config.model.variant == "b0":
        config.model.variant = "micro"
    config.data.edges = True
    if "epochs" in config.train:
        config.train.update(epochs=1, max_steps=1)
    else:
        config.train.update(steps=2, eval_every=2, checkpoint_every=2)
        config.optimizer.schedule.update(steps=2, warmup_steps=1)
    config.train.update(batch_size=4, log_every=1)
    config.eval.update(batch_size=4, cells_max=4)
    return config
