"""One hash of several texts or arrays."""

import hashlib
from collections.abc import Iterable


def digest(pieces: Iterable[bytes | str]) -> str:
    """A hash of pieces in order, which tells where one ends and the next begins.

    Args:
      pieces: Texts, or arrays' bytes.

    Returns:
      Hexadecimal digits.
    """
    found = hashlib.sha256()
    for piece in pieces:
        found.update(hashlib.sha256(piece.encode() if isinstance(piece, str) else piece).digest())
    return found.hexdigest()
