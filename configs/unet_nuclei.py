"""U-Net for nuclei with heads that separate touching ones: the model that ships as `nuclei`.

Command:  launch/train.py --config configs/unet_nuclei.py --workdir runs/unet_nuclei \
            --config.data.manual_dir=DIR_WITH_DSB2018
Hardware: two CPU cores (AVX-512), shared with other work: 1.4 h.
Score:    validation part of dsb2018, mAP_DSB (kaggle), TTA d4: fluorescence .606, tissue .402;
          without TTA .599 and .403. The validation loss was still falling at the end;
          --config.init_weights=FILE goes on from weights.
"""

from ml_collections import ConfigDict, config_dict


def get_config() -> ConfigDict:
    """The full run."""
    config = ConfigDict()
    config.task = "semantic"
    config.seed = 0
    config.init_weights = config_dict.placeholder(str)  # fine-tune these
    config.data = ConfigDict(
        {
            "name": "dsb2018",
            "data_dir": config_dict.placeholder(str),
            "manual_dir": config_dict.placeholder(str),
            "options": {},  # further arguments of load_source
            "train_split": "train",
            "eval_split": "validation",
            "modality_weights": {"fluorescence": 0.55, "tissue": 0.38, "brightfield": 0.07},
        }
    )
    config.model = ConfigDict(
        {
            "preset": "nuclei",
            "changes": {},
            "in_channels": 3,
            "heads": ("foreground", "boundary", "distance"),
            "percentiles": (1.0, 99.8),
            "diameter_px": 20.0,
        }
    )
    config.loss = ConfigDict({"dice_weight": 0.5})
    config.augmentation = ConfigDict(
        {
            "crop_px": 256,
            "dihedral": True,
            "rotate": True,
            "scale": 0.5,
            "elastic_px": 4.0,
            "gamma": 0.6,
            "contrast": 0.25,
            "blur_px": 1.5,
            "noise": 0.08,
            "stain": 0.25,
        }
    )
    config.optimizer = ConfigDict(
        {
            "name": "adamw",
            "learning_rate": 1.5e-3,
            "weight_decay": 1e-4,
            "clip_norm": 1.0,
            "schedule": {
                "name": "cosine",
                "steps": 2600,
                "warmup_steps": 100,
                "final_fraction": 0.01,
            },
        }
    )
    config.train = ConfigDict(
        {
            "steps": 2600,
            "batch_size": 8,
            "ema_decay": 0.995,
            "log_every": 20,
            "eval_every": 400,
            "checkpoint_every": 400,
        }
    )
    config.eval = ConfigDict({"side_px": 256, "batch_size": 8})
    return config


def smoke(config: ConfigDict) -> ConfigDict:
    """Shrinks a config to seconds: simulated data, a tiny network, two steps."""
    config.data.update(name="nuclei_simulated", train_split="train", eval_split="test")
    config.data.modality_weights = ConfigDict({"fluorescence": 0.5, "tissue": 0.5})
    config.data.options = ConfigDict({"sizes": (4, 2, 2), "shape": (64, 64)})
    config.model.changes = ConfigDict({"filters": (8, 8)})
    config.augmentation.crop_px = 64
    config.eval.update(side_px=64, batch_size=2)
    config.optimizer.schedule.update(steps=2, warmup_steps=1)
    config.train.update(steps=2, batch_size=2, log_every=1, eval_every=2, checkpoint_every=2)
    return config
