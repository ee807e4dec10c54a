"""Label images made elsewhere for transformed copies of images: one folder a transform.

    versions/identity/a_labels.tif   versions/rot90/a_labels.tif   ...

Folders have the names of `cellml.tta.TRANSFORMS`; files match by stem, as for `evaluate-masks`.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from cellml.commands.evaluate_masks import labels_by_stem
from cellml.data.images import read_labels
from cellml.data.writers import TEMPORARY_PREFIX
from cellml.errors import UsageError, UserError
from cellml.tta import PRESETS, TRANSFORMS, Transform, deaugment_labels

NAMED_MAX = 5


class VersionFolders(NamedTuple):
    """Label images of the transformed copies of some images.

    Attributes:
      folder: Holds one folder a transform.
      transforms: In the order of their preset, the identity first.
      files: For every stem, sorted, one file a transform in that order.
    """

    folder: Path
    transforms: tuple[Transform, ...]
    files: dict[str, tuple[Path, ...]]


def is_version_folder(path: Path) -> bool:
    """Whether a folder holds folders with the names of transforms."""
    return path.is_dir() and any((path / name).is_dir() for name in TRANSFORMS)


def open_versions(folder: Path, *, tta: str | None = None) -> VersionFolders:
    """Lists what is there and checks that every image has every version.

    Args:
      folder: Holds one folder a transform.
      tta: Preset whose transforms must be there; further ones are left out. None takes the
        smallest preset that has all transforms which are there.

    Returns:
      The files; none of them has been read.

    Raises:
      UsageError: No such folder, a transform without folder, an image that one folder lacks, two
        files of one stem.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder")
    inside = sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    present = {name for name in inside if name in TRANSFORMS}
    if not present:
        raise UsageError(
            f"{folder}: no folder of a transform in it ({', '.join(TRANSFORMS)} looked for)"
        )
    if tta is None:
        by_size = sorted(
            (name for name in PRESETS if name != "none"), key=lambda n: len(PRESETS[n])
        )
        tta = next(name for name in by_size if present <= {t.name for t in PRESETS[name]})
    transforms = PRESETS[tta]
    missing = [t.name for t in transforms if t.name not in present]
    if missing:
        others = [name for name in inside if name not in TRANSFORMS]
        hint = f"; {', '.join(others[:NAMED_MAX])} is no transform's name" if others else ""
        raise UsageError(
            f"{folder}: no folder {' or '.join(missing)}, which --tta {tta} needs "
            f"({', '.join(t.name for t in transforms if t.name in present)} found{hint})"
        )
    listed = [labels_by_stem(folder / t.name, skip_pictures=True) for t in transforms]
    stems = sorted(set().union(*listed))
    for transform, files in zip(transforms, listed, strict=True):
        for stem in stems:
            if stem not in files:
                other = next(found[stem] for found in listed if stem in found)
                raise UsageError(
                    f"{folder / transform.name}: no label image of '{stem}', which is there as "
                    f"{other.relative_to(folder)}"
                )
    files = {stem: tuple(found[stem] for found in listed) for stem in stems}
    return VersionFolders(folder, transforms, files)


def read_versions(versions: VersionFolders, stem: str) -> Int[np.ndarray, "t h w"]:
    """Reads the versions of one image and turns them back.

    Args:
      versions: From `open_versions`.
      stem: A key of its `files`.

    Returns:
      int32, one label image a transform in the frame of the image itself.

    Raises:
      UserError: A file is no label image, has too large labels, or has a shape that its transform
        cannot give.
    """
    files = versions.files[stem]
    labels = [_read_int32(path) for path in files]
    height, width = labels[0].shape
    for transform, path, found in zip(versions.transforms, files, labels, strict=True):
        expected = (width, height) if transform.transpose else (height, width)
        if found.shape != expected:
            raise UserError(
                f"{path}: {found.shape[0]} x {found.shape[1]} px found, {expected[0]} x "
                f"{expected[1]} expected of the {transform.name} of {height} x {width} px"
            )
    return np.asarray(deaugment_labels(labels, versions.transforms))


def _read_int32(path: Path) -> Int[np.ndarray, "h w"]:
    labels = read_labels(path)
    if int(labels.max(initial=0)) > np.iinfo(np.int32).max:
        raise UserError(
            f"{path}: labels up to {labels.max()} found, at most 2,147,483,647 expected"
        )
    return labels.astype(np.int32)


@contextlib.contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """Gives a temporary folder to write into, which becomes `out` when the block ends well.

    Args:
      out: Must not exist yet, or be empty.

    Yields:
      A folder beside it.

    Raises:
      UsageError: `out` is a file, or holds something.
      UserError: It cannot be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"--out {out}: expected a new or an empty folder")
    temporary = out.absolute().with_name(f"{TEMPORARY_PREFIX}{os.getpid()}-{out.name}")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        if out.exists():
            out.rmdir()
        os.replace(temporary, out)
    except OSError as error:
        raise UserError(f"{out}: cannot be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
