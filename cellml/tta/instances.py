"""Merge of several label images of one field: majority presence, then pixelwise majority.

The dissertation treats every object alone: objects of different versions are one where their IoU
is at least 0.5; an object is kept where the majority of the versions has it; its mask is then the
pixelwise majority. What that text leaves open is fixed here, once for the jitted merge of this file
and its host twin in `instances_host.py`:

Matching. Two versions are matched one to one. Each object's best partner is the one of largest
IoU; an exact tie (an object of one version cut into two equal halves in another: both IoUs are 0.5)
goes to the object whose first pixel in raster order comes first; and the choice must be mutual. The
other half stays free, and forms a group of its own with its likes.

Groups. Matching is not transitive, so groups are anchored: objects are visited in a reference
order, and one that is still free becomes the anchor of a group and takes its partners in the other
versions, as far as they are still free. A group therefore holds at most one object of a version,
and an object missing in the first version is anchored in a later one. The order is
  "first"   by version, then by id: the first version (the original image) decides what an object
            is.
  "medoid"  by the number of versions with a partner, then the sum of IoU over the partners, both
            descending: the most typical object decides. Exact ties fall to geometry (first pixel,
            area, a 32-bit hash of the mask). Only this order is claimed to be invariant: the merged
            labels, shares and IoUs do not depend on the order of the versions or on the ids.

Presence. `tie="drop"`: a group is kept with strictly more than half of the versions; "keep": with
half as well.

Pixels. `pixel_majority="present"`: a pixel belongs to the object where strictly more than half of
the group's own masks hold it; that is never an empty mask. "all": more than half of all versions,
a version without the object voting against; masks shrink, and a bare majority needs near agreement.
`pixel_tie="keep"` adds the pixels at exactly half.

Overlap. A pixel won by several objects goes to the object with the higher vote share, then the
larger mean IoU, then the earlier group (`overlap="object"`); or first to the one with more votes
at that pixel and then as before (`overlap="pixel"`). An object left without any pixel is dropped.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Integer

from cellml.ops.overlap import iou_from_overlap, overlap_table

MERGE_OPTIONS = {
    "reference": ("first", "medoid"),
    "tie": ("drop", "keep"),
    "pixel_majority": ("present", "all"),
    "pixel_tie": ("drop", "keep"),
    "overlap": ("object", "pixel"),
}
"""Names and known values of the options of both merges; the first value is the default."""

IOU_UNITS = 2**20
"""IoUs are summed as integers in this unit, so that sums do not depend on their order."""
MAX_VERSIONS = 64  # pairs * IOU_UNITS stays inside int32


class InstanceMerge(NamedTuple):
    """Merged label image and what the versions say about each object.

    Row i of the tables belongs to label i; row 0, the background, is not valid. The jitted merge
    pads the tables to n = 2 * max_instances - 1 rows, which always suffices: a kept object uses up
    at least half a version's object in every version. The host merge returns the rows in use.

    Attributes:
      labels: int32 `[h w]`, 0 background, then 1..n_objects without gaps. Numbered by version
        and id of the anchor ("first"), or by first pixel in raster order ("medoid").
      valid: bool `[n]`, True for rows 1..n_objects.
      vote_share: float32 `[n]`, share of the versions in which the object is present.
      mean_iou: float32 `[n]`, mean IoU of all pairs of its masks; 1 for a single mask.
      members: int32 `[n t]`, the object's id in every version, 0 where it is absent.
      n_objects: Number of objects, int32 scalar.
      out_of_range: bool scalar, True if some id was negative or not below `max_instances`: such
        pixels were taken for background. Always False from the host merge, which has no bound.
    """

    labels: Int[Array | np.ndarray, "h w"]
    valid: Bool[Array | np.ndarray, " n"]
    vote_share: Float[Array | np.ndarray, " n"]
    mean_iou: Float[Array | np.ndarray, " n"]
    members: Int[Array | np.ndarray, "n t"]
    n_objects: Int[Array | np.ndarray, ""]
    out_of_range: Bool[Array | np.ndarray, ""]


def merge_instances(
    labels: Integer[Array | np.ndarray, "..."],
    *,
    max_instances: int,
    iou_min: float = 0.5,
    reference: str = "first",
    tie: str = "drop",
    pixel_majority: str = "present",
    pixel_tie: str = "drop",
    overlap: str = "object",
) -> InstanceMerge:
    """Merges label images of one field into one, jittable at fixed sizes.

    Memory is O(t h w + n^2): pairs of versions meet in overlap tables, one at a time. All options
    are static; the rules are in the docstring of this module.

    Args:
      labels: De-augmented label images `[t h w]` (see `deaugment_labels`), 0 is background; ids
        need not be contiguous.
      max_instances: Static bound: ids must be below it (see `InstanceMerge.out_of_range`).
      iou_min: Inclusive, within [0.5, 1].
      reference: Order in which groups are anchored, "first" or "medoid".
      tie: "drop" or "keep" an object present in exactly half of the versions.
      pixel_majority: Majority of the masks "present" in the group, or of "all" versions.
      pixel_tie: "drop" or "keep" a pixel in exactly half of the masks.
      overlap: Who gets a contested pixel, the better "object" or the one with more votes at the
        "pixel".

    Returns:
      The merged labels with per-object tables, padded to 2 * max_instances - 1 rows.

    Raises:
      ValueError: A shape or an option is out of range (at trace time).
    Source: the rules of the dissertation (test-time augmentation of Mask R-CNN), made definite.
    """
    check_merge_options(labels.shape, iou_min, reference, tie, pixel_majority, pixel_tie, overlap)
    if max_instances < 1:
        raise ValueError(f"max_instances must be at least 1, found {max_instances}")
    t, m = labels.shape[0], max_instances
    ids = jnp.asarray(labels).astype(jnp.int32)
    inside = (ids >= 0) & (ids < m)
    ids = jnp.where(inside, ids, 0)

    first, area, mask_hash = _describe(ids, m)
    partner, partner_iou = _match_versions(ids, first, m, iou_min)
    if reference == "first":
        order = jnp.arange(t * m)
    else:
        support = (partner > 0).sum(1)
        keys = (mask_hash, area, first, -partner_iou.sum(1), -support)
        order = jnp.lexsort(tuple(key.ravel() for key in keys))
    group_of, members = _anchor_groups(partner, area > 0, order)

    present = (members > 0).sum(1)
    kept = (present > 0) & ((2 * present > t) if tie == "drop" else (2 * present >= t))
    # Rows of dropped groups go out of bounds, where scatters drop them.
    n = 2 * m - 1
    row = jnp.where(kept, jnp.cumsum(kept), n)
    table = jnp.zeros((n, t), jnp.int32).at[row].set(members, mode="drop")
    row_of = jnp.append(jnp.where(kept, row, 0), 0)[group_of]  # [t, m]; group -1 is the appended 0
    versions = jnp.take_along_axis(row_of, ids.reshape(t, -1), axis=1).astype(jnp.int32)

    mean_iou = _mean_pairwise_iou(versions, table)
    winner = _vote(versions, table, mean_iou, pixel_majority, pixel_tie, overlap)
    result = _number_rows(winner, table, mean_iou, by_position=reference == "medoid")
    return result._replace(
        labels=result.labels.reshape(labels.shape[1:]), out_of_range=~jnp.all(inside)
    )


def check_merge_options(
    shape: tuple[int, ...],
    iou_min: float,
    reference: str,
    tie: str,
    pixel_majority: str,
    pixel_tie: str,
    overlap: str,
) -> None:
    """Refuses what both merges refuse.

    Args:
      shape: Shape of the stack of label images.
      iou_min: As in `merge_instances`, as are the following.
      reference: See there.
      tie: See there.
      pixel_majority: See there.
      pixel_tie: See there.
      overlap: See there.

    Raises:
      ValueError: Not (t, h, w), too many versions, or an option that is not known.
    """
    if len(shape) != 3 or not 1 <= shape[0] <= MAX_VERSIONS:
        raise ValueError(f"labels must be (t, h, w) with t in 1..{MAX_VERSIONS}, found {shape}")
    if not 0.5 <= iou_min <= 1:
        raise ValueError(f"iou_min must lie within [0.5, 1] for unique matches, found {iou_min}")
    given = {
        "reference": reference,
        "tie": tie,
        "pixel_majority": pixel_majority,
        "pixel_tie": pixel_tie,
        "overlap": overlap,
    }
    for name, known in MERGE_OPTIONS.items():
        value = given[name]
        if value not in known:
            raise ValueError(f"unknown {name} {value!r}; known: {', '.join(known)}")


def _describe(ids: Array, m: int) -> tuple[Array, Array, Array]:
    """First pixel in raster order, area and mask hash of every object; each `[t m]`."""
    t = ids.shape[0]
    flat = ids.reshape(t, -1)
    pixel = jnp.arange(flat.shape[1], dtype=jnp.int32)
    version = jnp.arange(t)[:, None]
    area = jnp.zeros((t, m), jnp.int32).at[version, flat].add(1).at[:, 0].set(0)
    first = jnp.full((t, m), flat.shape[1], jnp.int32).at[version, flat].min(pixel[None])
    word = scramble(pixel.astype(jnp.uint32))
    mask_hash = jnp.zeros((t, m), jnp.uint32).at[version, flat].add(word[None])
    return first, area, mask_hash


def scramble(word: Any) -> Any:
    """Spreads a uint32 over all bits (the finaliser of MurmurHash3).

    Args:
      word: uint32, NumPy or JAX.

    Returns:
      uint32 of the same shape; one to one.
    """
    word = (word ^ (word >> 16)) * np.uint32(0x85EBCA6B)
    word = (word ^ (word >> 13)) * np.uint32(0xC2B2AE35)
    return word ^ (word >> 16)


def _match_versions(ids: Array, first: Array, m: int, iou_min: float) -> tuple[Array, Array]:
    """One-to-one partners of all objects in all versions.

    Returns:
      `[t t m]` twice: `partner[u, v, i]` is the id in v of object i of u, 0 for none (and for
      u = v); and their IoU in units of 1 / IOU_UNITS.
    """
    t = ids.shape[0]
    u_of, v_of = (jnp.asarray(side, jnp.int32) for side in np.triu_indices(t, 1))

    def match(pair: tuple[Array, Array]) -> tuple[Array, Array, Array]:
        u, v = pair
        iou = iou_from_overlap(overlap_table(ids[u], ids[v], max_instances=m))
        forward = _best(iou, first[v], iou_min)
        backward = _best(iou.T, first[u], iou_min)
        index = jnp.arange(m)
        forward = jnp.where(backward[forward] == index, forward, 0)
        backward = jnp.where(forward[backward] == index, backward, 0)
        units = jnp.floor(iou[index, forward] * IOU_UNITS).astype(jnp.int32)
        return forward, backward, units

    partner = jnp.zeros((t, t, m), jnp.int32)
    units = jnp.zeros((t, t, m), jnp.int32)
    if t == 1:
        return partner, units
    forward, backward, forward_units = lax.map(match, (u_of, v_of))
    backward_units = jnp.take_along_axis(forward_units, backward, axis=1)
    partner = partner.at[u_of, v_of].set(forward).at[v_of, u_of].set(backward)
    units = units.at[u_of, v_of].set(forward_units).at[v_of, u_of].set(backward_units)
    return partner, units


def _best(iou: Array, first: Array, iou_min: float) -> Array:
    """Column of the largest IoU of every row, ties to the smaller `first`; 0 below `iou_min`."""
    largest = iou.max(1, keepdims=True)
    position = jnp.where(iou == largest, first[None], jnp.iinfo(jnp.int32).max)
    found = largest[:, 0] >= jnp.float32(iou_min)
    return jnp.where(found, jnp.argmin(position, 1), 0).astype(jnp.int32)


def _anchor_groups(partner: Array, exists: Array, order: Array) -> tuple[Array, Array]:
    """Visits the objects in `order`; free ones become anchors and take their free partners.

    Returns:
      `[t m]` group of every object, -1 for none, and `[t * m, t]` the member ids of every group.
    """
    t, _, m = partner.shape
    # Absent objects go last, so that the loop can stop at the number of objects.
    order = order[jnp.argsort(~exists.ravel()[order], stable=True)]

    def visit(step: Array, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        group_of, members, count = state
        u, i = order[step] // m, order[step] % m
        ids = partner[u, :, i].at[u].set(i)
        versions = jnp.arange(t)
        free = (group_of[versions, ids] < 0) & (ids > 0)
        anchor = free[u]
        taken = jnp.where(free & anchor, ids, m)  # m is out of bounds: nothing is written
        group_of = group_of.at[versions, taken].set(count, mode="drop")
        members = members.at[count].set(jnp.where(taken < m, taken, 0))
        return group_of, members, count + anchor.astype(jnp.int32)

    state = (
        jnp.full((t, m), -1, jnp.int32),
        jnp.zeros((t * m, t), jnp.int32),
        jnp.zeros((), jnp.int32),
    )
    group_of, members, _ = lax.fori_loop(0, exists.sum(), visit, state)
    return group_of, members


def _mean_pairwise_iou(versions: Array, table: Array) -> Array:
    """Mean IoU over all pairs of a row's masks, `[n]`; versions `[t p]` hold rows, 0 for none."""
    t, n = versions.shape[0], table.shape[0]
    present = table > 0
    version = jnp.arange(t)[:, None]
    area = jnp.zeros((t, n), jnp.int32).at[version, versions].add(1)

    def pair_units(pair: tuple[Array, Array]) -> Array:
        u, v = pair
        common = jnp.where(versions[u] == versions[v], versions[u], 0)
        intersection = jnp.zeros(n, jnp.int32).at[common].add(1)
        union = area[u] + area[v] - intersection
        iou = intersection.astype(jnp.float32) / jnp.maximum(union, 1).astype(jnp.float32)
        both = present[:, u] & present[:, v]
        return jnp.where(both, jnp.floor(iou * IOU_UNITS).astype(jnp.int32), 0)

    pairs = present.sum(1) * (present.sum(1) - 1) // 2
    if t == 1:
        total = jnp.zeros(n, jnp.int32)
    else:
        sides = tuple(jnp.asarray(side, jnp.int32) for side in np.triu_indices(t, 1))
        total = lax.map(pair_units, sides).sum(0)
    mean = total.astype(jnp.float32) / (jnp.maximum(pairs, 1).astype(jnp.float32) * IOU_UNITS)
    return jnp.where(pairs > 0, mean, jnp.where(present.any(1), 1.0, 0.0)).astype(jnp.float32)


def _vote(
    versions: Array,
    table: Array,
    mean_iou: Array,
    pixel_majority: str,
    pixel_tie: str,
    overlap: str,
) -> Array:
    """Row that wins each pixel, `[p]`, 0 for none. A pixel has at most t candidates: its rows."""
    t, n = versions.shape[0], table.shape[0]
    present = (table > 0).sum(1)
    voters = present if pixel_majority == "present" else jnp.full(n, t)
    priority = jnp.lexsort((jnp.arange(n), -mean_iou, -present))
    rank = jnp.zeros(n, jnp.int32).at[priority].set(jnp.arange(n, dtype=jnp.int32))

    winner = jnp.zeros(versions.shape[1], jnp.int32)
    best = jnp.full(versions.shape[1], -1, jnp.int32)
    for candidate in versions:
        votes = (versions == candidate[None]).sum(0, dtype=jnp.int32)
        surplus = 2 * votes - voters[candidate]
        wins = (candidate > 0) & ((surplus > 0) if pixel_tie == "drop" else (surplus >= 0))
        score = n - rank[candidate] + (votes * (n + 1) if overlap == "pixel" else 0)
        better = wins & (score > best)
        winner = jnp.where(better, candidate, winner)
        best = jnp.where(better, score, best)
    return winner


def _number_rows(
    winner: Array, table: Array, mean_iou: Array, *, by_position: bool
) -> InstanceMerge:
    """Drops rows without a pixel and numbers the others 1..n_objects; labels stay flat."""
    n, t = table.shape
    pixel = jnp.arange(winner.shape[0], dtype=jnp.int32)
    first = jnp.full(n, winner.shape[0], jnp.int32).at[winner].min(pixel)
    shown = (first < winner.shape[0]) & (jnp.arange(n) > 0)
    key = jnp.where(shown, first if by_position else jnp.arange(n), jnp.iinfo(jnp.int32).max)
    source = jnp.concatenate([jnp.zeros(1, jnp.int32), jnp.argsort(key)[: n - 1]])
    n_objects = shown.sum(dtype=jnp.int32)
    valid = (jnp.arange(n) > 0) & (jnp.arange(n) <= n_objects)
    number = jnp.zeros(n, jnp.int32).at[source].set(jnp.where(valid, jnp.arange(n), 0))
    members = jnp.where(valid[:, None], table[source], 0)
    # A table, because the compiled division by a constant is one rounding off.
    shares = jnp.asarray(np.arange(t + 1) / t, jnp.float32)
    return InstanceMerge(
        labels=number[winner].astype(jnp.int32),
        valid=valid,
        vote_share=shares[(members > 0).sum(1)],
        mean_iou=jnp.where(valid, mean_iou[source], 0.0).astype(jnp.float32),
        members=members,
        n_objects=n_objects,
        out_of_range=jnp.zeros((), bool),
    )
