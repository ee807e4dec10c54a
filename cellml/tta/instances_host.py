"""Host twin of the jitted instance merge: any size, any number of objects, no compilation.

The rules are those of `instances.py`. Objects of all versions get one running number ("object
number" below, 0 is background), and only pairs of objects which touch are stored.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Integer

from cellml.ops.overlap import overlap_pairs_host
from cellml.tta.instances import (
    IOU_UNITS,
    InstanceMerge,
    check_merge_options,
    scramble,
)


class _Pairs(NamedTuple):
    """Touching pairs of objects of two versions: object numbers `[p]` and IoU in 1 / IOU_UNITS."""

    a: np.ndarray
    b: np.ndarray
    units: np.ndarray


def merge_instances_host(
    labels: Integer[np.ndarray, "..."],
    *,
    iou_min: float = 0.5,
    reference: str = "first",
    tie: str = "drop",
    pixel_majority: str = "present",
    pixel_tie: str = "drop",
    overlap: str = "object",
) -> InstanceMerge:
    """Merges label images of one field into one, on the host and without bounds.

    Args:
      labels: De-augmented label images `[t h w]` of any integer type, 0 is background; ids need
        not be contiguous.
      iou_min: As in `merge_instances`, as are the other options.
      reference: "first" or "medoid".
      tie: "drop" or "keep".
      pixel_majority: "present" or "all".
      pixel_tie: "drop" or "keep".
      overlap: "object" or "pixel".

    Returns:
      NumPy arrays, equal to the jitted merge without its padding.

    Raises:
      ValueError: A shape or an option is out of range, or an id is negative.
    """
    check_merge_options(labels.shape, iou_min, reference, tie, pixel_majority, pixel_tie, overlap)
    t = labels.shape[0]
    images, ids, version = _number_objects(labels)
    flat = images.reshape(t, -1)
    first = np.zeros(ids.size, np.int64)
    for row in flat:
        # Later assignments win, so going backwards leaves the first pixel.
        first[row[::-1]] = np.arange(row.size)[::-1]
    area = np.zeros(ids.size, np.int64)
    for row in flat:
        area += np.bincount(row, minlength=ids.size)

    pairs, partner, units = _match_versions(flat, first, area, iou_min)
    if reference == "first":
        order = np.arange(1, ids.size)
    else:
        keys = (_hashes(flat, ids.size), area, first, -units.sum(1), -(partner > 0).sum(1))
        order = np.lexsort(tuple(key[1:] for key in keys)) + 1
    group_of, groups = _anchor_groups(partner, version, order)

    present = (groups > 0).sum(1)
    kept = (2 * present > t) if tie == "drop" else (2 * present >= t)
    kept[0] = False
    members = groups[np.concatenate([[0], np.flatnonzero(kept)])]
    row_of = np.where(kept, np.cumsum(kept), 0)[group_of]
    mean_iou = _mean_pairwise_iou(pairs, row_of, members)
    voters = (members > 0).sum(1) if pixel_majority == "present" else np.full(len(members), t)
    rank = np.empty(len(members), np.int64)
    rank[np.lexsort((-mean_iou, -(members > 0).sum(1)))] = np.arange(len(members))
    winner = _vote(row_of[flat], voters, rank, pixel_tie, overlap)

    rows, where = np.unique(winner, return_index=True)
    if reference == "medoid":
        rows = rows[np.argsort(where)]
    rows = np.concatenate([[0], rows[rows > 0]]).astype(np.int64)
    number = np.zeros(len(members), np.int32)
    number[rows] = np.arange(rows.size)
    valid = rows > 0
    return InstanceMerge(
        labels=number[winner].reshape(labels.shape[1:]),
        valid=valid,
        vote_share=((members[rows] > 0).sum(1) / t).astype(np.float32),
        mean_iou=np.where(valid, mean_iou[rows], 0).astype(np.float32),
        members=ids[members[rows]].astype(np.int32),
        n_objects=np.array(rows.size - 1, np.int32),
        out_of_range=np.array(False),
    )


def _number_objects(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images of object numbers `[t h w]`; id and version of every number, `[objects + 1]`."""
    images = np.zeros(labels.shape, np.int32)
    ids, versions = [np.zeros(1, np.int64)], [np.zeros(1, np.int64)]
    count = 1
    for v, image in enumerate(labels):
        if image.size and int(image.min()) < 0:
            raise ValueError(f"ids must not be negative, found {int(image.min())} in version {v}")
        found, position = np.unique(image, return_inverse=True)
        number = np.where(found > 0, count + np.arange(found.size) - np.sum(found == 0), 0)
        images[v] = number[position].reshape(image.shape)
        found = found[found > 0]
        count += found.size
        ids.append(found.astype(np.int64))
        versions.append(np.full(found.size, v))
    return images, np.concatenate(ids), np.concatenate(versions)


def _hashes(flat: np.ndarray, objects: int) -> np.ndarray:
    """Sum over its pixels of the scrambled pixel index, modulo 2**32, for every object."""
    total = np.zeros(objects, np.uint32)
    word = scramble(np.arange(flat.shape[1], dtype=np.uint32))
    for row in flat:
        np.add.at(total, row, word)
    return total


def _match_versions(
    flat: np.ndarray, first: np.ndarray, area: np.ndarray, iou_min: float
) -> tuple[list[_Pairs], np.ndarray, np.ndarray]:
    """Touching pairs of every two versions; partner `[objects + 1, t]` and its IoU in units."""
    t = flat.shape[0]
    partner = np.zeros((area.size, t), np.int64)
    units = np.zeros((area.size, t), np.int64)
    every = []
    starts = [int(row[row > 0].min(initial=area.size)) - 1 for row in flat]
    for u, v in zip(*np.triu_indices(t, 1), strict=True):
        # Numbers of one version are consecutive: shifted to start at 1, their table is small.
        base_u, base_v = starts[u], starts[v]
        a, b, common = overlap_pairs_host(
            np.maximum(flat[u] - base_u, 0), np.maximum(flat[v] - base_v, 0)
        )
        a, b = a + base_u, b + base_v
        union = (area[a] + area[b] - common).astype(np.float32)
        iou = common.astype(np.float32) / union
        pairs = _Pairs(a, b, np.floor(iou * np.float32(IOU_UNITS)).astype(np.int64))
        every.append(pairs)
        good = iou >= np.float32(iou_min)
        a, b, iou, unit = a[good], b[good], iou[good], pairs.units[good]
        mutual = _is_best(a, iou, first[b]) & _is_best(b, iou, first[a])
        a, b, unit = a[mutual], b[mutual], unit[mutual]
        partner[a, v], partner[b, u] = b, a
        units[a, v], units[b, u] = unit, unit
    return every, partner, units


def _is_best(row: np.ndarray, iou: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Marks, for every row, its entry of largest IoU; ties go to the smaller `first`."""
    order = np.lexsort((first, -iou, row))
    best = np.zeros(row.size, bool)
    best[order] = np.diff(row[order], prepend=-1) != 0
    return best


def _anchor_groups(
    partner: np.ndarray, version: np.ndarray, order: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Group of every object and members `[groups + 1, t]` of every group; group 0 is empty."""
    group_of = [0] * version.size
    groups = [[0] * partner.shape[1]]
    partners, versions = partner.tolist(), version.tolist()
    for anchor in order.tolist():
        if group_of[anchor]:
            continue
        members = [p if p and not group_of[p] else 0 for p in partners[anchor]]
        members[versions[anchor]] = anchor
        for p in members:
            if p:
                group_of[p] = len(groups)
        groups.append(members)
    return np.array(group_of), np.array(groups)


def _mean_pairwise_iou(pairs: list[_Pairs], row_of: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Mean IoU over all pairs of a row's masks; 1 for a single mask, 0 for row 0."""
    total = np.zeros(len(members), np.int64)
    for a, b, units in pairs:
        same = (row_of[a] == row_of[b]) & (row_of[a] > 0)
        np.add.at(total, row_of[a][same], units[same])
    k = (members > 0).sum(1)
    count = k * (k - 1) // 2
    denominator = np.maximum(count, 1).astype(np.float32) * np.float32(IOU_UNITS)
    mean = total.astype(np.float32) / denominator
    return np.where(count > 0, mean, k > 0).astype(np.float32)


def _vote(
    versions: np.ndarray, voters: np.ndarray, rank: np.ndarray, pixel_tie: str, overlap: str
) -> np.ndarray:
    """Row that wins each pixel; versions `[t p]` hold rows."""
    winner = np.zeros(versions.shape[1], np.int64)
    touched = np.flatnonzero(versions.any(0))
    inside = versions[:, touched]
    won = np.zeros(touched.size, np.int64)
    best = np.full(touched.size, -1, np.int64)
    for candidate in inside:
        votes = np.count_nonzero(inside == candidate, axis=0)
        surplus = 2 * votes - voters[candidate]
        wins = (candidate > 0) & ((surplus > 0) if pixel_tie == "drop" else (surplus >= 0))
        score = rank.size - rank[candidate]
        if overlap == "pixel":
            score = score + votes * (rank.size + 1)
        better = wins & (score > best)
        won[better], best[better] = candidate[better], score[better]
    winner[touched] = won
    return winner
