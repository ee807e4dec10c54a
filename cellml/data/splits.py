"""Splits of images into training and test parts: pure functions of ids, groups and modalities.

No split reads an image, depends on the order of its arguments or draws a random number: the place
of a *group* (images of one field, see `cellml.data.duplicates`) follows from the SHA-1 of its
representative, the smallest id in it. A group never has images on both sides.

The named splits follow the dissertation: data sets 'fluo' and 'tissue', each divided

* `_5`: 95 % training, 5 % test;
* `_15`: 85 % training, 15 % test, six times (`cv1` to `cv6`). The six test parts are disjoint. Six
  times 15 % is 90 %: the remaining tenth of the images is never tested, and always trained on;
* `_30`: 70 % training, 30 % test.

A test part is filled with whole groups to its nominal size, as closely as the groups allow.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence

MODALITIES_OF = {"fluo": "fluorescence", "tissue": "tissue"}
TEST_FRACTION_OF = {5: 0.05, 15: 0.15, 30: 0.30}
N_FOLDS = 6


def sha1_fraction(name: str) -> float:
    """Maps a name to a uniform number in [0, 1): the first 52 bits of the SHA-1 of its UTF-8."""
    return int(hashlib.sha1(name.encode()).hexdigest()[:13], 16) / 16**13


def validation_ids(
    ids: Iterable[str], groups: Mapping[str, str], fraction: float = 0.15
) -> list[str]:
    """Chooses the validation part: groups whose representative hashes below `fraction`.

    The choice for a group does not depend on the other groups, so that adding images moves none.
    The price is that the share of images is only about `fraction`.

    Args:
      ids: Names of the images.
      groups: Representative of each id; an id that is missing is its own group.
      fraction: Expected share of the groups, within [0, 1].

    Returns:
      Sorted ids of the validation part.

    Raises:
      ValueError: `fraction` is out of range.
    """
    if not 0 <= fraction <= 1:
        raise ValueError(f"fraction must lie within [0, 1], got {fraction}")
    return sorted(name for name in ids if sha1_fraction(groups.get(name, name)) < fraction)


def held_out_folds(
    ids: Iterable[str], groups: Mapping[str, str], *, fraction: float, n_folds: int = 1
) -> list[list[str]]:
    """Cuts disjoint test parts of a nominal size, made of whole groups.

    Groups of several images come first, then single images, each in the order of their SHA-1. A
    group goes to the part that lacks the largest share of its nominal size and still has room for
    all of it; the images that no test part takes count as one more such part. Tiled fields and
    single fields (different experiments, often) so get into every part in proportion, and the
    single ones level the sizes.

    Args:
      ids: Names of the images.
      groups: Representative of each id; an id that is missing is its own group.
      fraction: Nominal share of the images in each part.
      n_folds: Number of parts; n_folds * fraction is at most 1.

    Returns:
      Sorted ids of each part.

    Raises:
      ValueError: The parts would not fit, or `fraction` is not positive.
    """
    if fraction <= 0 or n_folds < 1 or n_folds * fraction > 1 + 1e-9:
        raise ValueError(f"{n_folds} disjoint parts of {fraction} of the images do not exist")
    members: dict[str, list[str]] = {}
    for name in ids:
        members.setdefault(groups.get(name, name), []).append(name)
    total = sum(map(len, members.values()))
    # The last part is the rest: images that are in no test part.
    nominal = [fraction * total] * n_folds + [(1 - n_folds * fraction) * total]
    parts: list[list[str]] = [[] for _ in nominal]

    def lacking(index: int, size: int) -> tuple[bool, float, int]:
        room = nominal[index] - len(parts[index])
        # Half a group of slack, so that rounding does not push the last image into the rest.
        fits = room >= size / 2
        return fits, room / nominal[index] if nominal[index] > 0.5 else -1.0, -index

    for group in sorted(members, key=lambda name: (len(members[name]) == 1, _rank(name, n_folds))):
        size = len(members[group])
        parts[max(range(len(parts)), key=lambda index: lacking(index, size))] += members[group]
    return [sorted(part) for part in parts[:n_folds]]


def named_splits(modalities: Mapping[str, str], groups: Mapping[str, str]) -> dict[str, list[str]]:
    """Lists every named split of the data set.

    Args:
      modalities: 'fluorescence', 'tissue' or 'brightfield' for each id. Brightfield (without
        stain) is in neither 'fluo' nor 'tissue', but is in 'all', 'train' and 'validation'.
      groups: Representative of each id.

    Returns:
      Sorted ids by name: 'all', 'train', 'validation' (85 / 15 by SHA-1, see `validation_ids`),
      'fluo', 'tissue', and '<set>_5/<part>', '<set>_15/cv<1..6>/<part>', '<set>_30/<part>' with
      set 'fluo' or 'tissue' and part 'train' or 'test'.
    """
    everything = sorted(modalities)
    validation = set(validation_ids(everything, groups))
    splits = {
        "all": everything,
        "train": _without(everything, validation),
        "validation": sorted(validation),
    }
    for name, modality in MODALITIES_OF.items():
        chosen = [item for item in everything if modalities[item] == modality]
        splits[name] = chosen
        for percent, fraction in TEST_FRACTION_OF.items():
            n_folds = N_FOLDS if percent == 15 else 1
            folds = held_out_folds(chosen, groups, fraction=fraction, n_folds=n_folds)
            for number, test in enumerate(folds, 1):
                fold = f"/cv{number}" if percent == 15 else ""
                splits[f"{name}_{percent}{fold}/train"] = _without(chosen, set(test))
                splits[f"{name}_{percent}{fold}/test"] = test
    return splits


def _without(ids: Sequence[str], removed: set[str]) -> list[str]:
    return [name for name in ids if name not in removed]


def _rank(name: str, n_folds: int) -> float:
    """Orders groups of one size, differently for every number of folds."""
    return sha1_fraction(f"{n_folds}:{name}")
