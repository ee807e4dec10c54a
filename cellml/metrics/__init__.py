"""Scores of segmentations: pixels, instances, sums over batches, bootstrap intervals."""

from cellml.metrics.accumulate import compute, empty, merge, summed, summed_counts
from cellml.metrics.bootstrap import BootstrapInterval, paired_bootstrap
from cellml.metrics.instance import (
    DSB2018_THRESHOLDS,
    AjiSums,
    MatchCounts,
    MatchRates,
    aji,
    aji_sums,
    ap_dsb2018,
    count_matches,
    match_instances,
    match_rates,
)
from cellml.metrics.overlap import OverlapPairs, OverlapTable, overlap_pairs, overlap_table
from cellml.metrics.pixel import boundary_f1, dice, iou
from cellml.metrics.policy import EmptyPolicy
from cellml.metrics.scores import PRESETS, InstanceScores, Preset, evaluate_labels, summarise

__all__ = [
    "DSB2018_THRESHOLDS",
    "PRESETS",
    "AjiSums",
    "BootstrapInterval",
    "EmptyPolicy",
    "InstanceScores",
    "MatchCounts",
    "MatchRates",
    "OverlapPairs",
    "OverlapTable",
    "Preset",
    "aji",
    "aji_sums",
    "ap_dsb2018",
    "boundary_f1",
    "compute",
    "count_matches",
    "dice",
    "empty",
    "evaluate_labels",
    "iou",
    "match_instances",
    "match_rates",
    "merge",
    "overlap_pairs",
    "overlap_table",
    "paired_bootstrap",
    "summarise",
    "summed",
    "summed_counts",
]
