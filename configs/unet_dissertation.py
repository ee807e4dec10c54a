"""The dissertation's U-Net, section 'test-time augmentation' (facts: zhixuhao/unet, 200 epochs).

Command:  launch/train.py --config configs/unet_dissertation.py:fluo_15/cv1 --workdir runs/diss \
            --config.data.manual_dir=DIR_WITH_DSB2018
          The part after the colon names the split; add `,plain` to train without augmentation.
Hardware: meant for one GPU. 512 x 512 pieces, batch 1, 200 epochs over six copies of each piece.
          Not run to the end by us: on two CPU cores one step takes seconds.
Score:    not measured; the dissertation reports mean IoU per checkpoint and what TTA adds to it.
"""

from ml_collections import ConfigDict, config_dict


def get_config(arg: str = "fluo_15/cv1") -> ConfigDict:
    """The full run on one named split.

    Args:
      arg: `<split>` or `<split>,plain`, e.g. "fluo_5", "tissue_15/cv3", "fluo_30,plain".
    """
    split, _, plain = arg.partition(",")
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
            "train_split": f"{split}/train",
            "eval_split": f"{split}/test",
            "modality_weights": config_dict.placeholder(ConfigDict),
            "square_px": 512,  # cut to squares; smaller images are enlarged
            "six_copies": plain != "plain",  # augmentation made in advance
        }
    )
    config.model = ConfigDict(
        {
            "preset": "zhixuhao",
            "changes": {},
            "in_channels": 3 if split.startswith("tissue") else 1,
            "heads": ("foreground",),
            "percentiles": (0.0, 100.0),
            "diameter_px": 30.0,
        }
    )
    config.loss = ConfigDict({"dice_weight": 0.0, "weighted": False})
    config.augmentation = ConfigDict(
        {
            "crop_px": 512,
            "dihedral": False,
            "rotate": False,
            "scale": 0.0,
            "elastic_px": 0.0,
            "gamma": 0.0,
            "contrast": 0.0,
            "blur_px": 0.0,
            "noise": 0.0,
            "stain": 0.0,
        }
    )
    config.optimizer = ConfigDict(
        {"name": "adam", "learning_rate": 3e-4, "schedule": {"name": "constant"}, "clip_norm": 0.0}
    )
    # Times in epochs become steps once the number of pieces is known.
    config.train = ConfigDict(
        {
            "epochs": 200,
            "batch_size": 1,
            "ema_decay": 0.0,
            "log_every": 50,
            "eval_every_epochs": 1,
            "checkpoint_every_epochs": 5,
        }
    )
    config.eval = ConfigDict({"side_px": 512, "batch_size": 1})
    return config


def smoke(config: ConfigDict) -> ConfigDict:
    """Shrinks a config to seconds: simulated data, a narrow network, one step."""
    config.data.update(
        name="nuclei_simulated", train_split="train", eval_split="test", square_px=64
    )
    config.data.options = ConfigDict({"sizes": (4, 2, 2), "shape": (64, 64)})
    config.model.changes = ConfigDict({"filters": (4, 4, 4, 8, 8)})
    config.augmentation.crop_px = 64
    config.eval.side_px = 64
    config.train.update(epochs=1, max_steps=1, log_every=1)
    return config
