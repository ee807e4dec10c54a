"""Optimal one-to-one assignment of overlapping instances, for thresholds below 0.5."""

import numpy as np

from cellml.metrics.overlap import OverlapPairs


def optimal_pairs(pairs: OverlapPairs, iou: np.ndarray, matching: np.ndarray) -> np.ndarray:
    """Chooses the pairs of the assignment with the most matches, then the largest sum of IoU.

    The Hungarian method runs on each connected group of overlapping instances alone, which is the
    same as running it on all, and takes memory for the largest group only.

    Args:
      pairs: Overlapping instances.
      iou: IoU of each pair, shape (n_pairs,).
      matching: Whether the IoU of each pair suffices for a match, bool, shape (n_pairs,).

    Returns:
      Bool, shape (n_pairs,): the pairs of the assignment that are matches.
    Source: the objective is that of stardist.matching and cellpose.metrics,
      minimal -[iou >= t] - iou / (2 min(n_true, n_pred)).
    """
    # Only scores below 0.5 come here; the import takes longer than scoring an image.
    from scipy.optimize import linear_sum_assignment
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n_true, n_pred = pairs.area_true.size, pairs.area_pred.size
    chosen = np.zeros(iou.size, bool)
    if not iou.size:
        return chosen
    n_nodes = n_true + n_pred
    graph = coo_array((np.ones(iou.size), (pairs.row, n_true + pairs.column)), (n_nodes, n_nodes))
    group = connected_components(graph, directed=False)[1][pairs.row]
    gain = matching + iou / (2 * min(n_true, n_pred))
    order = np.argsort(group, kind="stable")
    for members in np.split(order, np.flatnonzero(np.diff(group[order])) + 1):
        if members.size == 1:
            chosen[members] = True
            continue
        rows, row = np.unique(pairs.row[members], return_inverse=True)
        columns, column = np.unique(pairs.column[members], return_inverse=True)
        value = np.zeros((rows.size, columns.size))
        index = np.full(value.shape, -1)
        value[row, column], index[row, column] = gain[members], members
        picked = index[linear_sum_assignment(value, maximize=True)]
        chosen[picked[picked >= 0]] = True
    return chosen & matching
