"""Mask R-CNN with a light backbone, trained from scratch on fluorescence nuclei.

Command:  launch/train.py --config configs/mask_rcnn_nuclei.py --workdir runs/mask_rcnn_nuclei \
            --config.data.manual_dir=DIR_WITH_DSB2018
Hardware: two CPU cores, shared with other work: 27 minutes.
Score:    fluorescence images of the validation part of dsb2018, mAP_DSB (kaggle): .522 without TTA,
          .541 with dissertation6, .545 with d4; see benchmarks/RESULTS.md. The validation loss was
          still falling.
"""

from ml_collections import ConfigDict, config_dict


def get_config() -> ConfigDict:
    """The full run."""
    config = ConfigDict()
    config.task = "instances"
    config.seed = 0
    # a .safetensors model of ours, a matterport .h5, or "coco"
    config.init_weights = config_dict.placeholder(str)
    config.data = ConfigDict(
        {
            "name": "dsb2018",
            "data_dir": config_dict.placeholder(str),
            "manual_dir": config_dict.placeholder(str),
            "options": {},  # further arguments of load_source
            "train_split": "train[fluorescence]",
            "eval_split": "validation[fluorescence]",
            "modality_weights": config_dict.placeholder(ConfigDict),
        }
    )
    config.model = ConfigDict(
        {
            "preset": "cellml",
            "changes": {},
            "in_channels": 3,
            "percentiles": (1.0, 99.8),
            "diameter_px": 20.0,
            "enlarge": 1,
            "area_min_px": 12,
        }
    )
    config.augmentation = ConfigDict(
        {
            "crop_px": 256,
            "dihedral": True,
            "rotate": False,
            "scale": 0.4,
            "elastic_px": 0.0,
            "gamma": 0.6,
            "contrast": 0.25,
            "blur_px": 1.0,
            "noise": 0.06,
            "stain": 0.0,
        }
    )
    config.optimizer = ConfigDict(
        {
            "name": "adamw",
            "learning_rate": 1e-3,
            "weight_decay": 1e-4,
            "clip_norm": 5.0,
            "schedule": {
                "name": "cosine",
                "steps": 1000,
                "warmup_steps": 50,
                "final_fraction": 0.01,
            },
        }
    )
    config.train = ConfigDict(
        {
            "steps": 1000,
            "batch_size": 4,
            "ema_decay": 0.99,
            "log_every": 20,
            "eval_every": 200,
            "checkpoint_every": 200,
        }
    )
    config.eval = ConfigDict({"side_px": 256, "batch_size": 4, "n_images": 12})
    return config


def smoke(config: ConfigDict) -> ConfigDict:
    """Shrinks a config to seconds: simulated data, a tiny network, two steps."""
    config.data.update(name="nuclei_simulated", train_split="train", eval_split="test")
    config.data.options = ConfigDict(
        {"content": "fluorescence", "sizes": (4, 2, 2), "shape": (64, 64)}
    )
    config.model.changes = ConfigDict(
        {
            "backbone_width": 8,
            "fpn_channels": 16,
            "rpn_channels": 16,
            "box_channels": 16,
            "mask_channels": 16,
            "mask_convs": 1,
            "pre_nms": 100,
            "post_nms_train": 32,
            "post_nms_inference": 32,
            "train_rois": 16,
            "max_instances": 16,
            "max_detections": 16,
            "rpn_train_anchors": 32,
            "mini_mask_px": 28,
        }
    )
    config.augmentation.crop_px = 64
    config.eval.update(side_px=64, batch_size=2, n_images=1)
    config.optimizer.schedule.update(steps=2, warmup_steps=1)
    config.train.update(steps=2, batch_size=2, log_every=1, eval_every=2, checkpoint_every=2)
    return config
