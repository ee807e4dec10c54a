"""The dissertation's Mask R-CNN: COCO weights, three epochs in three stages, nucleAIzer's settings.

Command:  launch/train.py --config configs/mask_rcnn_dissertation.py:fluo_15/cv1 \
            --workdir runs/mask_rcnn --config.data.manual_dir=DIR_WITH_DSB2018 \
            --config.init_weights=mask_rcnn_coco.h5     (or `coco`: fetched once)
          The part after the colon names the split; add `,sgd` for SGD, which the documentation of
          nucleAIzer names, in place of Adam, which the dissertation names.
Hardware: meant for one GPU: 512 x 512 pieces enlarged to 1024, ResNet-101, batch 1.
          Not run to the end by us: on two CPU cores one step takes minutes.
Score:    not measured; the dissertation reports a mean gain of .01 to .02 mAP_DSB by TTA.
"""

from ml_collections import ConfigDict, config_dict


def get_config(arg: str = "fluo_15/cv1") -> ConfigDict:
    """The full run on one named split.

    Args:
      arg: `<split>` or `<split>,sgd`, e.g. "fluo_5", "tissue_15/cv3", "fluo_30,sgd".
    """
    split, _, optimizer = arg.partition(",")
    config = ConfigDict()
    config.task = "instances"
    config.seed = 0
    config.init_weights = config_dict.placeholder(str)
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
            "six_copies": True,  # augmentation made in advance
        }
    )
    config.model = ConfigDict(
        {
            "preset": "nucleaizer",
            "changes": {},
            "in_channels": 3,
            "percentiles": config_dict.placeholder(tuple),  # raw 8-bit images
            "diameter_px": 30.0,
            "enlarge": 2,
            "area_min_px": 1,
        }
    )
    config.augmentation = config_dict.placeholder(ConfigDict)  # none but the six copies
    config.optimizer = ConfigDict(
        {
            # Keras' epsilon; the decay is 1e-4 over the number of elements of each parameter
            **({"name": "sgd", "momentum": 0.9} if optimizer == "sgd" else {"name": "adam"}),
            **({} if optimizer == "sgd" else {"eps": 1e-7}),
            "weight_decay": 1e-4,
            "decay_over_size": True,
            "clip_each_norm": 5.0,
            "stages": {
                "learning_rates": (1e-3, 5e-4, 1e-4),
                "trained": ("all", "5+", "heads"),
            },
        }
    )
    # Times in epochs become steps once the number of pieces is known.
    config.train = ConfigDict(
        {
            "epochs": 3,
            "batch_size": 1,
            "ema_decay": 0.0,
            "log_every": 50,
            "eval_every_epochs": 1,
            "checkpoint_every_epochs": 1,
        }
    )
    config.eval = ConfigDict({"side_px": 512, "batch_size": 1, "n_images": 50})
    return config


def smoke(config: ConfigDict) -> ConfigDict:
    """Shrinks a config to seconds: simulated data, a narrow network, three steps."""
    config.data.update(
        name="nuclei_simulated", train_split="train", eval_split="test", square_px=64
    )
    config.data.options = ConfigDict(
        {"content": "fluorescence", "sizes": (4, 2, 2), "shape": (64, 64)}
    )
    config.model.changes = ConfigDict(
        {
            "backbone": "resnet18",
            "backbone_width": 4,
            "fpn_channels": 8,
            "rpn_channels": 8,
            "box_channels": 8,
            "mask_channels": 8,
            "pre_nms": 100,
            "post_nms_train": 32,
            "post_nms_inference": 32,
            "train_rois": 16,
            "max_instances": 16,
            "max_detections": 16,
            "rpn_train_anchors": 32,
        }
    )
    config.eval.update(side_px=64, n_images=1)
    config.train.update(epochs=1, max_steps=3, log_every=1)
    return config
