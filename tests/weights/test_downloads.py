"""Fetching published weights, from files of the test's own behind file:// addresses."""

import hashlib
from pathlib import Path

import pytest

from cellml.weights.downloads import PUBLISHED, Published, fetch

CONTENT = bytes(range(256)) * 9000


@pytest.fixture
def server(tmp_path: Path) -> Path:
    folder = tmp_path / "server"
    folder.mkdir()
    (folder / "w.h5").write_bytes(CONTENT)
    return folder


def _known(server: Path, sha256: str | None) -> dict[str, Published]:
    return {"w": Published((server / "w.h5").as_uri(), "w.h5", sha256, "MIT", "us")}


def test_fetches_once_and_checks_the_hash(server: Path, tmp_path: Path) -> None:
    seen: list[int] = []
    known = _known(server, hashlib.sha256(CONTENT).hexdigest())
    path = fetch("w", tmp_path / "into", published=known, advance=seen.append)
    assert path.read_bytes() == CONTENT
    assert sum(seen) == len(CONTENT)
    (server / "w.h5").unlink()
    assert fetch("w", tmp_path / "into", published=known) == path


def test_wrong_content_leaves_nothing(server: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"w\.h5: expected SHA-256 0000, found"):
        fetch("w", tmp_path / "into", published=_known(server, "0000"))
    assert list((tmp_path / "into").iterdir()) == []


def test_a_file_without_a_published_hash_must_stay_the_same(server: Path, tmp_path: Path) -> None:
    known = _known(server, None)
    path = fetch("w", tmp_path, published=known)
    assert (tmp_path / "w.h5.sha256").read_text().strip() == hashlib.sha256(CONTENT).hexdigest()
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(ValueError, match="expected SHA-256"):
        fetch("w", tmp_path, published=known)


def test_no_connection_says_how_to_go_on(server: Path, tmp_path: Path) -> None:
    (server / "w.h5").unlink()
    with pytest.raises(OSError, match=r"download failed .* by hand and put it at .*into/w\.h5"):
        fetch("w", tmp_path / "into", published=_known(server, None))
    assert list((tmp_path / "into").iterdir()) == []


def test_unknown_name_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown weights 'x'; known: mask_rcnn_coco"):
        fetch("x", tmp_path)
    assert PUBLISHED["mask_rcnn_coco"].url.endswith(".h5")


def test_where_the_source_states_an_md5_it_is_checked(server: Path, tmp_path: Path) -> None:
    right = _known(server, None)["w"]._replace(md5=hashlib.md5(CONTENT).hexdigest())
    assert fetch("w", tmp_path / "a", published={"w": right}).read_bytes() == CONTENT
    with pytest.raises(ValueError, match="expected MD5 0000, found"):
        fetch("w", tmp_path / "b", published={"w": right._replace(md5="0000")})
    assert list((tmp_path / "b").iterdir()) == []
