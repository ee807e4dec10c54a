"""The instance merge: hand-made cases, the independent oracle, invariances, the host twin."""

import functools
import itertools

import jax
import numpy as np
import pytest

from cellml.tta import TRANSFORMS, deaugment_labels, merge_instances, merge_instances_host
from tests.tta import instance_oracle

M = 16  # one static size for all cases, so that few programs are compiled
H, W = 19, 23
OPTIONS = [
    dict(zip(("reference", "tie", "pixel_majority", "pixel_tie", "overlap"), values, strict=True))
    for values in [
        ("first", "drop", "present", "drop", "object"),
        ("medoid", "drop", "present", "drop", "object"),
        ("first", "keep", "all", "drop", "pixel"),
        ("medoid", "keep", "present", "keep", "pixel"),
        ("first", "drop", "all", "keep", "object"),
    ]
]


merge = merge_instances_host  # hand-made cases; the jitted twin is compared below


@functools.cache
def jitted(**options):
    return jax.jit(functools.partial(merge_instances, max_instances=M, **options))


def assert_twins_agree(stack, **options):
    """The jitted merge gives exactly what the host gives, and nothing but zeros after it."""
    host = merge_instances_host(stack, **options)
    padded = jax.device_get(jitted(**options)(stack))
    rows = int(padded.n_objects) + 1
    assert padded.valid.shape == (2 * M - 1,)
    for name, ours, theirs in zip(host._fields, padded, host, strict=True):
        if name in ("valid", "vote_share", "mean_iou", "members"):
            assert not ours[rows:].any()
            ours = ours[:rows]
        assert ours.dtype == theirs.dtype, name
        np.testing.assert_array_equal(ours, theirs, err_msg=name)


def row(*ids):
    """A 1 x w label image."""
    return np.array([ids], np.int32)


def merge_rows(versions, **options):
    return merge(np.stack(versions), **options)


def jittered_versions(seed, t=6, shape=(H, W), cells=8):
    """Discs that move, grow, vanish, split and appear from version to version."""
    rng = np.random.default_rng(seed)
    centres, radii = rng.uniform(0, shape, (cells, 2)), rng.uniform(2, 4, cells)
    y, x = np.mgrid[: shape[0], : shape[1]]
    stack = np.zeros((t, *shape), np.int32)
    for v in range(t):
        version = stack[v]
        ids = rng.permutation(np.arange(1, M))
        for (cy, cx), r, label in zip(centres, radii, ids, strict=False):
            cy, cx, r = np.array([cy, cx, r]) + rng.normal(0, [0.5, 0.5, 0.3])
            disc = (y - cy) ** 2 + (x - cx) ** 2 < r**2
            if rng.random() < 0.25:
                continue
            version[disc & (version == 0)] = label
            if rng.random() < 0.2:  # split into halves
                version[disc & (version == label) & (x > cx)] = ids[cells]
                ids = np.roll(ids, -1)
    return stack


def assert_matches_oracle(found, expected):
    assert found.n_objects == len(expected)
    labels = np.zeros_like(found.labels)
    for number, target in enumerate(expected, start=1):
        for pixel in target["pixels"]:
            labels[pixel] = number
        assert found.vote_share[number] == np.float32(target["share"])
        assert found.mean_iou[number] == pytest.approx(float(target["iou"]), abs=2e-6)
        assert found.members[number].tolist() == target["members"]
    np.testing.assert_array_equal(found.labels, labels)


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(o.values()))
@pytest.mark.parametrize("seed", range(6))
def test_equals_the_oracle(options, seed):
    for t in (6, 5):
        stack = jittered_versions(seed, t)
        expected = instance_oracle.merge(stack, **options)
        assert len(expected) >= 3
        assert_matches_oracle(merge(stack, **options), expected)
    assert_twins_agree(jittered_versions(seed), **options)


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(o.values()))
def test_ties_in_one_image(options):
    """All exact ties of the cases below, one a row, in both twins and in the oracle."""
    left, right, whole = row(1, 1, 1, 1), row(0, 0, 0, 2, 2, 2, 2), row(1, 1, 1, 1, 1, 1)
    both, halves = row(1, 1, 1, 1, 2, 2, 2), row(2, 2, 2, 1, 1, 1)
    cases = [
        [left] * 3 + [right] * 3,
        [right, left, left, right, both, both],
        [left, both, both, right, right, row(0)],
        [whole, halves, halves, whole, halves, halves],
        [halves, whole, whole, whole, row(0), row(0, 1, 1)],
        [row(0), row(0), row(0), whole, whole, row(1, 1, 1)],
    ]
    stack = np.zeros((6, H, W), np.int32)
    for r, case in enumerate(cases):
        for version, line in zip(stack, case, strict=True):
            ids = line[0]
            version[3 * r, r : r + ids.size] = np.where(ids > 0, ids + 2 * r, 0)
    assert_matches_oracle(merge(stack, **options), instance_oracle.merge(stack, **options))
    assert_twins_agree(stack, **options)


def test_equals_the_oracle_at_a_higher_iou():
    stack = jittered_versions(3)
    for iou_min in (0.6, 0.75):
        expected = instance_oracle.merge(stack, iou_min=str(iou_min))
        assert_matches_oracle(merge(stack, iou_min=iou_min), expected)
    assert_twins_agree(stack, iou_min=0.75)


def test_options_make_a_difference():
    """Otherwise the comparison with the oracle shows nothing about them."""
    results = set()
    for options in OPTIONS:
        found = [merge_instances_host(jittered_versions(s, t=6), **options) for s in range(6)]
        results.add(b"".join(f.labels.tobytes() for f in found))
    assert len(results) == len(OPTIONS)


@pytest.mark.parametrize("reference", ["first", "medoid"])
@pytest.mark.parametrize("t", [1, 2, 6])
def test_identical_versions_reproduce_themselves(reference, t):
    labels = jittered_versions(2)[0]
    stack = np.repeat(labels[None], t, axis=0)
    found = merge(stack, reference=reference)
    if t in (1, 6):
        assert_twins_agree(stack, reference=reference)
    ids = np.unique(labels[labels > 0])
    assert found.n_objects == ids.size
    np.testing.assert_array_equal(found.vote_share[1:], 1)
    np.testing.assert_array_equal(found.mean_iou[1:], 1)
    original = np.append(0, found.members[1:, 0])
    np.testing.assert_array_equal(original[found.labels], labels)
    if reference == "first":
        np.testing.assert_array_equal(found.members[1:, 0], ids)


def test_three_of_six():
    present, absent = row(0, 1, 1, 1, 0), row(0, 0, 0, 0, 0)
    versions = [present] * 3 + [absent] * 3
    assert merge_rows(versions).n_objects == 0
    kept = merge_rows(versions, tie="keep")
    np.testing.assert_array_equal(kept.labels, present)
    assert kept.vote_share[1] == 0.5
    # Of all six versions only half hold each pixel, so the object is left without any.
    assert merge_rows(versions, tie="keep", pixel_majority="all").n_objects == 0
    assert merge_rows([present] * 4 + [absent] * 2).vote_share[1] == np.float32(4 / 6)


def test_pixel_majority_of_those_present_or_of_all():
    narrow, wide, absent = row(0, 1, 1, 0, 0), row(0, 1, 1, 1, 0), row(0, 0, 0, 0, 0)
    versions = [narrow, wide, wide, absent]
    np.testing.assert_array_equal(merge_rows(versions).labels, wide)
    np.testing.assert_array_equal(merge_rows(versions, pixel_majority="all").labels, narrow)
    both = {"pixel_majority": "all", "pixel_tie": "keep"}
    np.testing.assert_array_equal(merge_rows(versions, **both).labels, wide)
    np.testing.assert_array_equal(merge_rows([narrow, wide]).labels, narrow)
    np.testing.assert_array_equal(merge_rows([narrow, wide], pixel_tie="keep").labels, wide)
    assert merge_rows([narrow, wide]).mean_iou[1] == pytest.approx(2 / 3, abs=1e-6)


def test_iou_of_exactly_one_half_matches():
    half, whole = row(1, 1, 0, 0), row(1, 1, 1, 1)
    assert merge_rows([half, whole]).n_objects == 1
    assert merge_rows([half, whole], iou_min=0.51).n_objects == 0


@pytest.mark.parametrize("reference", ["first", "medoid"])
def test_object_missing_in_the_first_version_is_found(reference):
    both, one = row(4, 4, 0, 7, 7), row(0, 0, 0, 9, 9)
    found = merge_rows([one, both, both], reference=reference)
    assert found.n_objects == 2
    by_pixel = found.members[found.labels[0]]
    assert by_pixel[0].tolist() == [0, 4, 4]
    assert by_pixel[3].tolist() == [9, 7, 7]


@pytest.mark.parametrize("swap", [False, True])
def test_object_split_into_halves(swap):
    """Both halves reach IoU 0.5; the one further left is the partner, whatever its id."""
    whole = row(1, 1, 1, 1)
    split = row(2, 2, 1, 1) if swap else row(1, 1, 2, 2)
    found = merge_rows([whole, split, whole])
    np.testing.assert_array_equal(found.labels, whole)
    assert found.members[1].tolist() == [1, 2 if swap else 1, 1]
    # The majority decides the other way round too; the right half is an object of its own.
    found = merge_rows([whole, split, split])
    np.testing.assert_array_equal(found.labels, row(1, 1, 2, 2))
    assert found.members[1].tolist() == [1, split[0, 0], split[0, 0]]
    assert found.members[2].tolist() == [0, split[0, 2], split[0, 2]]
    assert found.vote_share[1:].tolist() == pytest.approx([1, 2 / 3])
    assert found.mean_iou[1:].tolist() == pytest.approx([(0.5 + 0.5 + 1) / 3, 1], abs=1e-6)


def test_unequal_split_follows_the_majority():
    whole, split = row(1, 1, 1, 1, 1), row(1, 1, 1, 2, 2)
    np.testing.assert_array_equal(merge_rows([whole, whole, split]).labels, whole)
    np.testing.assert_array_equal(merge_rows([whole, split, split]).labels, split)


def test_contested_pixel_goes_to_the_better_object():
    left, right = row(1, 1, 1, 1, 0, 0, 0), row(0, 0, 0, 2, 2, 2, 2)
    versions = [left, left, left, right, right, right]
    # Three of six each, the same IoU: the group anchored earlier wins.
    found = merge_rows(versions, tie="keep")
    np.testing.assert_array_equal(found.labels, row(1, 1, 1, 1, 2, 2, 2))
    found = merge_rows(versions[::-1], tie="keep")
    np.testing.assert_array_equal(found.labels, row(2, 2, 2, 1, 1, 1, 1))
    # One left mask lacks the pixel: the left object's mean IoU is smaller now.
    versions[2] = row(1, 1, 1, 0, 0, 0, 0)
    found = merge_rows(versions, tie="keep")
    np.testing.assert_array_equal(found.labels, row(1, 1, 1, 2, 2, 2, 2))


def test_contested_pixel_by_object_or_by_votes_at_the_pixel():
    left, right = row(1, 1, 1, 1, 0, 0, 0), row(0, 0, 0, 2, 2, 2, 2)
    both, neither = row(1, 1, 1, 1, 2, 2, 2), row(0, 0, 0, 0, 0, 0, 0)
    # Left is present in 3 versions, all with pixel 3; right in 4, of which 2 have it.
    versions = [left, both, both, right, right, neither]
    kept = {"tie": "keep", "pixel_tie": "keep"}
    by_object = merge_rows(versions, overlap="object", **kept)
    np.testing.assert_array_equal(by_object.labels, row(1, 1, 1, 2, 2, 2, 2))
    by_votes = merge_rows(versions, overlap="pixel", **kept)
    np.testing.assert_array_equal(by_votes.labels, row(1, 1, 1, 1, 2, 2, 2))


def test_object_left_without_a_pixel_is_dropped():
    """Nested objects of different versions: the smaller one loses all its pixels."""
    small, large = row(0, 0, 1, 0, 0), row(3, 3, 3, 3, 3)
    found = merge_rows([large, large, small, small], tie="keep")
    assert found.n_objects == 1
    np.testing.assert_array_equal(found.labels, row(1, 1, 1, 1, 1))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("options", [o for o in OPTIONS if o["reference"] == "medoid"])
def test_medoid_is_invariant_to_order_and_ids(seed, options):
    stack = jittered_versions(seed, t=6)
    expected = merge_instances_host(stack, **options)
    rng = np.random.default_rng(seed)
    for _ in range(5):
        order = rng.permutation(len(stack))
        shuffled = np.stack([np.append(0, 1 + rng.permutation(M - 1))[stack[v]] for v in order])
        found = merge(shuffled, **options)
        np.testing.assert_array_equal(found.labels, expected.labels)
        np.testing.assert_array_equal(found.vote_share, expected.vote_share)
        np.testing.assert_array_equal(found.mean_iou, expected.mean_iou)


def test_medoid_ties_between_different_masks_do_not_depend_on_order():
    """A chain a-b-c-d of shifted bars: b and c are equally typical, and want different groups."""
    bars = [np.zeros((1, 18), np.int32) for _ in range(4)]
    for shift, bar in enumerate(bars):
        bar[0, 3 * shift : 3 * shift + 9] = 1
    results = {
        merge_instances_host(np.stack(order), reference="medoid").labels.tobytes()
        for order in itertools.permutations(bars)
    }
    assert len(results) == 1
    in_order = {
        merge_instances_host(np.stack(order)).labels.tobytes()
        for order in itertools.permutations(bars)
    }
    assert len(in_order) > 1  # the anchored order is not claimed to be invariant, and is not


def test_label_images_of_any_segmenter():
    labels = jittered_versions(1)[0].astype(np.uint16)
    chosen = [TRANSFORMS[name] for name in ("identity", "rot90", "hflip", "antitranspose")]
    versions = deaugment_labels([t.apply(labels, axes=(-2, -1)) for t in chosen], chosen)
    assert versions.dtype == np.uint16
    found = merge_rows(versions)
    np.testing.assert_array_equal(found.members[:, 0][found.labels], labels)


def test_empty_versions():
    nothing = np.zeros((3, 4, 5), np.int32)
    found = merge(nothing)
    assert found.n_objects == 0
    assert not found.labels.any()
    assert found.valid.tolist() == [False]
    nothing[1, 2, 3] = 1
    assert merge(nothing).n_objects == 0


def test_host_takes_large_sparse_ids():
    labels = np.zeros((3, 5, 6), np.uint32)
    labels[:, 1:3, 1:4] = 4_000_000
    labels[:2, 4, 4:] = 65_000
    found = merge_instances_host(labels)
    assert found.members.tolist() == [[0, 0, 0], [65_000, 65_000, 0], [4_000_000] * 3]


def test_full_tables():
    """As many objects as the bound allows, all different in every version: nothing overflows."""
    stack = np.zeros((6, H, W), np.int32)
    for v, version in enumerate(stack):
        version[v // 3, : M - 1] = np.arange(1, M)  # two sets of M - 1, three of six each
    assert merge(stack, tie="keep").n_objects == 2 * (M - 1)
    assert_twins_agree(stack, **OPTIONS[3])
    assert OPTIONS[3]["tie"] == "keep"


def test_out_of_range_ids_are_reported():
    labels = np.zeros((1, H, W), np.int32)
    run = jitted(reference="first")
    assert not run(labels).out_of_range
    labels[0, 0, :3] = [1, M, 2]
    found = run(labels)
    assert found.out_of_range
    np.testing.assert_array_equal(found.labels[0, :3], [1, 0, 2])
    with pytest.raises(ValueError, match="ids must not be negative, found -1 in version 0"):
        merge_instances_host(labels - 1)


def test_eager_and_vmap_equal_jit():
    stacks = np.stack([jittered_versions(s) for s in (0, 1)])
    run = jitted(**OPTIONS[1])
    batched = jax.vmap(run)(stacks)
    for i, stack in enumerate(stacks):
        for one, many in zip(run(stack), batched, strict=True):
            np.testing.assert_array_equal(one, many[i])
    eager = merge_instances(stacks[0], max_instances=M, **OPTIONS[1])
    for one, other in zip(run(stacks[0]), eager, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"iou_min": 0.4}, "iou_min must lie within"),
        ({"reference": "last"}, "unknown reference 'last'; known: first, medoid"),
        ({"tie": "maybe"}, "unknown tie"),
        ({"pixel_majority": "most"}, "unknown pixel_majority"),
        ({"overlap": "area"}, "unknown overlap"),
    ],
)
def test_unknown_options(options, message):
    labels = np.zeros((2, 3, 4), np.int32)
    with pytest.raises(ValueError, match=message):
        merge_instances(labels, max_instances=M, **options)
    with pytest.raises(ValueError, match=message):
        merge_instances_host(labels, **options)


def test_shapes_are_checked():
    with pytest.raises(ValueError, match=r"labels must be \(t, h, w\)"):
        merge_instances_host(np.zeros((3, 4), np.int32))
    with pytest.raises(ValueError, match="max_instances must be at least 1"):
        merge_instances(np.zeros((1, 3, 4), np.int32), max_instances=0)
