"""Independent reference of the instance merge: sets of pixels, plain loops, exact fractions.

Written from the rules in the docstring of `cellml.tta.instances`, with nothing of its code.
"""

from fractions import Fraction
from itertools import combinations


def merge(
    versions,
    *,
    iou_min="0.5",
    reference="first",
    tie="drop",
    pixel_majority="present",
    pixel_tie="drop",
    overlap="object",
):
    """Merged objects of nested lists of ids, in numbering order.

    Returns:
      One dictionary an object: pixels (set of (y, x)), share, iou (Fractions), members (ids).
    """
    masks = {}  # (version, id) -> set of pixels
    for v, image in enumerate(versions):
        for y, row in enumerate(image):
            for x, label in enumerate(row):
                if label:
                    masks.setdefault((v, int(label)), set()).add((y, x))
    n = len(versions)

    def iou(a, b):
        return Fraction(len(masks[a] & masks[b]), len(masks[a] | masks[b]))

    def choice(a, v):
        """The partner that object a would like to have in version v."""
        rivals = [b for b in masks if b[0] == v and iou(a, b) >= Fraction(iou_min)]
        return min(rivals, key=lambda b: (-iou(a, b), min(masks[b])), default=None)

    partner = {}
    for a in masks:
        for v in range(n):
            b = choice(a, v) if v != a[0] else None
            if b is not None and choice(b, a[0]) == a:
                partner[a, v] = b

    def typical(a):
        partners = [partner[a, v] for v in range(n) if (a, v) in partner]
        return -len(partners), -sum(iou(a, b) for b in partners), min(masks[a]), len(masks[a])

    groups, used = [], set()
    for anchor in sorted(masks, key=typical if reference == "medoid" else None):
        if anchor in used:
            continue
        found = [partner.get((anchor, v)) for v in range(n)]
        group = [anchor] + [b for b in found if b is not None and b not in used]
        used.update(group)
        groups.append(group)

    kept = []
    for group in groups:
        if len(group) * 2 > n or (tie == "keep" and len(group) * 2 == n):
            pairs = [iou(a, b) for a, b in combinations(group, 2)]
            voters = len(group) if pixel_majority == "present" else n
            votes = {}
            for member in group:
                for pixel in masks[member]:
                    votes[pixel] = votes.get(pixel, 0) + 1
            kept.append(
                {
                    "share": Fraction(len(group), n),
                    "iou": sum(pairs) / len(pairs) if pairs else Fraction(1),
                    "members": [next((i for u, i in group if u == v), 0) for v in range(n)],
                    "votes": {
                        p: k
                        for p, k in votes.items()
                        if 2 * k > voters or (pixel_tie == "keep" and 2 * k == voters)
                    },
                    "pixels": set(),
                }
            )

    for pixel in {p for g in kept for p in g["votes"]}:
        rivals = [g for g in kept if pixel in g["votes"]]
        by_pixel = overlap == "pixel"
        best = max(  # the first of equals is the earlier group
            rivals, key=lambda g: (g["votes"][pixel] if by_pixel else 0, g["share"], g["iou"])
        )
        best["pixels"].add(pixel)
    shown = [g for g in kept if g["pixels"]]
    return sorted(shown, key=lambda g: min(g["pixels"])) if reference == "medoid" else shown
