"""Slow and plain: every score by loops over ids and pixels, with exact fractions."""

from fractions import Fraction
from itertools import product
from math import hypot

import numpy as np


def random_labels(rng, shape=(20, 27), n=9, spacing=1):
    """Overlapping rectangles painted one over the other; ids are multiples of `spacing`."""
    labels = np.zeros(shape, np.int32)
    for k in range(1, n + 1):
        y, x = rng.integers(0, shape[0] - 3), rng.integers(0, shape[1] - 3)
        labels[y : y + rng.integers(2, 8), x : x + rng.integers(2, 8)] = k * spacing
    return labels


def disturbed(rng, labels):
    """A prediction: the labels moved by up to a pixel, some lost, some cut, some added."""
    pred = np.roll(labels, tuple(rng.integers(-1, 2, 2)), (0, 1))
    ids = np.unique(pred)[1:]
    for k in rng.permutation(ids)[: len(ids) // 4]:
        pred[pred == k] = 0
    top = int(labels.max())
    pred[:, pred.shape[1] // 2 :][pred[:, pred.shape[1] // 2 :] == ids[-1]] = top + 1
    pred[-3:, :4] = top + 2
    return pred


def pixel_sets(labels):
    sets = {}
    for place, value in np.ndenumerate(labels):
        if value != 0:
            sets.setdefault(int(value), set()).add(place)
    return sets


def iou_matrix(true, pred):
    """{(true id, pred id): IoU as a fraction} for the pairs that overlap."""
    a, b = pixel_sets(true), pixel_sets(pred)
    return {
        (i, j): Fraction(len(a[i] & b[j]), len(a[i] | b[j]))
        for i, j in product(a, b)
        if a[i] & b[j]
    }


def largest_matching(edges):
    """Size of the largest one-to-one matching, by augmenting paths."""
    partners = {}
    for i, j in edges:
        partners.setdefault(i, []).append(j)
    owner = {}

    def augment(i, seen):
        for j in partners[i]:
            if j not in seen:
                seen.add(j)
                if j not in owner or augment(owner[j], seen):
                    owner[j] = i
                    return True
        return False

    return sum(augment(i, set()) for i in partners)


def match_counts(true, pred, threshold, strict):
    """(tp, fp, fn) of the largest matching at a threshold given as a Fraction."""
    edges = [
        pair
        for pair, iou in iou_matrix(true, pred).items()
        if (iou > threshold if strict else iou >= threshold)
    ]
    tp = largest_matching(edges)
    return tp, len(pixel_sets(pred)) - tp, len(pixel_sets(true)) - tp


def aji(true, pred):
    a, b = pixel_sets(true), pixel_sets(pred)
    shared = union = 0
    used = set()
    for pixels in a.values():
        best, key = None, (Fraction(0), 0)
        for j, other in b.items():
            found = (Fraction(len(pixels & other), len(pixels | other)), len(pixels & other))
            if found > key:
                best, key = j, found
        if best is None:
            union += len(pixels)
        else:
            shared += len(pixels & b[best])
            union += len(pixels | b[best])
            used.add(best)
    union += sum(len(pixels) for j, pixels in b.items() if j not in used)
    return shared / union


def boundary(mask):
    h, w = mask.shape
    return [
        (y, x)
        for y, x in zip(*np.nonzero(mask), strict=True)
        if any(
            0 <= y + dy < h and 0 <= x + dx < w and not mask[y + dy, x + dx]
            for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1))
        )
    ]


def boundary_f1(true, pred, tolerance_px):
    a, b = boundary(true), boundary(pred)

    def share_near(points, others):
        near = [any(hypot(y - v, x - u) <= tolerance_px for v, u in others) for y, x in points]
        return sum(near) / len(near)

    if not a or not b:
        return 0.0
    precision, recall = share_near(b, a), share_near(a, b)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0
