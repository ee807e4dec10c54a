"""Naive loops over sorted lists: what rankings score, one query at a time."""

import itertools

import numpy as np


def cosine(a, b):
    length = np.sqrt((a * a).sum()) * np.sqrt((b * b).sum())
    return float((a * b).sum() / length) if length > 0 else 0.0


def average_precision(relevant):
    """Of a list of right (1) and wrong (0) answers in order."""
    found, total = 0, 0.0
    for place, right in enumerate(relevant, 1):
        if right:
            found += 1
            total += found / place
    return total / found if found else np.nan


def interpolated_average_precision(relevant):
    points = curve(relevant)
    n_right = sum(relevant)
    if n_right == 0:
        return np.nan
    best = [max(p for r, p in points if r >= k) for k in range(1, n_right + 1)]
    return sum(best) / n_right


def curve(relevant):
    """(right answers found, precision) after each place."""
    return [(sum(relevant[:k]), sum(relevant[:k]) / k) for k in range(1, len(relevant) + 1)]


def orders(similarity, relevant):
    """All orders of the candidates in which similarity never rises."""
    groups = [
        [relevant[i] for i in range(len(similarity)) if similarity[i] == s]
        for s in sorted(set(similarity), reverse=True)
    ]
    for choice in itertools.product(*(set(itertools.permutations(g)) for g in groups)):
        yield list(itertools.chain(*choice))


def expected(similarity, relevant, score):
    """Mean over all orders, each weighted by how many permutations give it (all alike here)."""
    return float(np.mean([score(order) for order in orders(similarity, relevant)]))


def thresholds(similarity, relevant):
    """(right answers found, precision) at every distinct similarity, and weight in the mean."""
    points = []
    for s in sorted(set(similarity), reverse=True):
        inside = [r for v, r in zip(similarity, relevant, strict=True) if v >= s]
        points.append((sum(inside), sum(inside) / len(inside)))
    return points


def average_precision_at_thresholds(similarity, relevant):
    """Sum of precision times the step of recall, as scikit-learn defines it."""
    n_right, before, total = sum(relevant), 0, 0.0
    for found, precision in thresholds(similarity, relevant):
        total += (found - before) / n_right * precision
        before = found
    return total


def odds_ratio(similarity, relevant):
    """Of right answers strictly above the 99th percentile, with all four counts."""
    limit = np.percentile(similarity, 99)
    table = np.zeros((2, 2))
    for s, right in zip(similarity, relevant, strict=True):
        table[int(s <= limit), int(not right)] += 1
    (a, b), (c, d) = table
    if b * c == 0:
        return (np.nan if min(table.sum(0).min(), table.sum(1).min()) == 0 else np.inf), table
    return a * d / (b * c), table


def rank_lists(profiles, labels, *, exclude=None):
    """For every query its candidates' similarities and whether they share a label."""
    n = len(profiles)
    for q in range(n):
        similarity, relevant = [], []
        for j in range(n):
            if j == q or (exclude is not None and any(exclude[q] == exclude[j])):
                continue
            similarity.append(cosine(profiles[q], profiles[j]))
            relevant.append(int(bool(set(labels[q]) & set(labels[j]))))
        yield np.array(similarity), relevant


def notebook_curve(similarity, relevant, n_profiles):
    """The published loop over a falling recall axis, with its bookkeeping one step late."""
    points = [(0.0, 1.0)]  # (recall, precision), recall rising; the curve is then turned round
    found, n_right = 0, sum(relevant)
    for place, i in enumerate(np.argsort(-similarity, kind="stable"), 1):
        found += relevant[i]
        points.append((found / n_right, found / place))
        if found == n_right:
            break
    recall, precision = (np.array(column)[::-1] for column in zip(*points, strict=True))
    best = np.maximum.accumulate(precision)
    axis = np.linspace(0, 1, n_profiles)[::-1]
    values, j = np.zeros(n_profiles), 0
    for i in range(n_profiles):
        values[i] = best[j]
        while axis[i] < recall[j] - 1e-12:  # equal recalls are equal, whichever way they round
            j += 1
    return values[::-1]
