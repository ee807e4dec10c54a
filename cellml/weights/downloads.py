"""Published weights, fetched once into a folder of the user's, checked, never half-written."""

import contextlib
import hashlib
import os
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from cellml.weights.store import file_sha256

CHUNK_BYTES = 1 << 20


class Published(NamedTuple):
    """A file on the web.

    Attributes:
      url: Where it is.
      file: Its name here.
      sha256: Of its content; None where no source states it: then the first download is trusted
        and its hash kept beside the file, and later ones must match.
      licence: Of the weights.
      source: Who published it.
      md5: Likewise, where that is all that the source states.
    """

    url: str
    file: str
    sha256: str | None
    licence: str
    source: str
    md5: str | None = None


PUBLISHED: Mapping[str, Published] = {
    "mask_rcnn_coco": Published(
        url="https://github.com/matterport/Mask_RCNN/releases/download/v2.0/mask_rcnn_coco.h5",
        file="mask_rcnn_coco.h5",
        sha256=None,
        licence="MIT",
        source="matterport/Mask_RCNN, release v2.0",
    ),
    "efficientnet_b0_imagenet": Published(
        url="https://storage.googleapis.com/keras-applications/efficientnetb0_notop.h5",
        file="efficientnetb0_notop.h5",
        sha256=None,
        licence="Apache-2.0",
        source="Keras, keras.applications.EfficientNetB0, which states the MD5",
        md5="50bc09e76180e00e4465e1a485ddc09d",
    ),
}
"""What `fetch` knows, by name."""


def fetch(
    name: str,
    folder: str | Path,
    *,
    published: Mapping[str, Published] = PUBLISHED,
    advance: Callable[[int], None] = lambda n_bytes: None,
) -> Path:
    """Path of a published file, downloaded if it is not in `folder` yet.

    Args:
      name: A key of `published`.
      folder: Where files are kept.
      published: Known files.
      advance: Called with the number of bytes as they come.
    Returns:
      The file, whose hash was checked.
    Raises:
      ValueError: The name is unknown, or the content is not what was expected; nothing is kept.
      OSError: The download failed; the message says how to place the file by hand.
    """
    if name not in published:
        raise ValueError(f"unknown weights {name!r}; known: {', '.join(published)}")
    entry, folder = published[name], Path(folder)
    target, note = folder / entry.file, folder / f"{entry.file}.sha256"
    expected = entry.sha256 or (note.read_text().strip() if note.is_file() else None)
    if not target.is_file():
        _download(entry, target, expected, advance)
    found = file_sha256(target)
    if expected is not None and found != expected:
        raise ValueError(
            f"{target}: expected SHA-256 {expected}, found {found}; remove it to fetch it anew"
        )
    _check_md5(entry, target, "; remove it to fetch it anew")
    if entry.sha256 is None and not note.is_file():
        note.write_text(f"{found}\n")
    return target


def _download(
    entry: Published, target: Path, expected: str | None, advance: Callable[[int], None]
) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{entry.file}.")
    try:
        with os.fdopen(handle, "wb") as file:
            try:
                with urllib.request.urlopen(entry.url, timeout=60) as response:
                    promised = response.headers.get("Content-Length")
                    while chunk := response.read(CHUNK_BYTES):
                        file.write(chunk)
                        advance(len(chunk))
            except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
                raise OSError(
                    f"{entry.url}: download failed ({error}); fetch it by hand and put it at "
                    f"{target}"
                ) from error
            size = file.tell()
        if promised is not None and size != int(promised):
            raise OSError(f"{entry.url}: {promised} bytes promised, {size} came; try again")
        found = file_sha256(temporary)
        if expected is not None and found != expected:
            raise ValueError(f"{entry.url}: expected SHA-256 {expected}, found {found}")
        _check_md5(entry, Path(temporary), "")
        os.replace(temporary, target)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


def _check_md5(entry: Published, path: Path, advice: str) -> None:
    if entry.md5 is None:
        return
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "md5").hexdigest()
    if found != entry.md5:
        raise ValueError(f"{entry.url}: expected MD5 {entry.md5}, found {found}{advice}")
