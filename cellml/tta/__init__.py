"""Test-time augmentation: transforms of D4, prediction under them, and merges of the results.

Semantic maps: `predict`, then `merge_mean`, with `variance`, `entropy` and `mutual_information` as
uncertainty. Label images of any segmenter: `deaugment_labels`, then `merge_instances` (jittable,
fixed sizes) or `merge_instances_host` (any size).
"""

from cellml.tta.instances import InstanceMerge, merge_instances
from cellml.tta.instances_host import merge_instances_host
from cellml.tta.merge import entropy, merge_mean, mutual_information, threshold, variance
from cellml.tta.transforms import (
    PRESETS,
    TRANSFORMS,
    Transform,
    deaugment_labels,
    predict,
    resolve_transforms,
)

__all__ = [
    "PRESETS",
    "TRANSFORMS",
    "InstanceMerge",
    "Transform",
    "deaugment_labels",
    "entropy",
    "merge_instances",
    "merge_instances_host",
    "merge_mean",
    "mutual_information",
    "predict",
    "resolve_transforms",
    "threshold",
    "variance",
]
