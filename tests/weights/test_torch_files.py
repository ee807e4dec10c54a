"""Files that PyTorch wrote, read without it: real bytes, views, refusals."""

import base64
import io
import pickle
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from cellml.weights.torch_files import read_state_dict

# Written by PyTorch 2.13: torch.save({"state_dict": tensors, "epoch": 3}, ...), and
# torch.save(tensors, ..., _use_new_zipfile_serialization=False), compressed with zlib.
NEW = (
    "eNqlVTtv00Acv9iJkxpI2gJNWqAwJlJJnXfKq1WEDJKRCEFIEYvlOtfYwo1zzqUFpEqVUCp1A9SFBTGyMAMbX4GhTGwM"
    "FRMfAe6cR21XSUp7yuUk+/975P6PlCXWD0AoBI6sSTANFEvV9A24WFOwkmw+M8RSGDx1rW1mC4F4lSeAFlYwlGu6ipFv"
    "CzHxKiVVkptQr2sYsSo2CVtSbmPdaPGyBVfbulGTMWy0TEveSPPIH49XgzaRaSl1iAJdCC8apoIfdx/yiKv6SIyAglWW"
    "nGqzjUISh9HEIwlIrMTsIF7ySewOOrOrqqZhQBXrZqPFP7Rq0IK1u8Qej84mKugcRuEKitgu181a24DJBprUiAmtL/zA"
    "bNQHulO2bgpNayHJh9F5opdI7GqU6gJGFytoxg7QUNTFcV8x1gYcMTskjWYJB4PRHPXMdNAlyddBl7tcVzCar6Cr7WqA"
    "RMKmqWromsS2k2UpGPrCf3quEwa6y0MTF3UkLrlmWusKljeg1SLXcDR/Kcr7+c/PV9QY3cN550DhkLeXI1kx9HpjHTaw"
    "WMp4qI+18llqYHkT/WaIBDPSwBRYHhhYfYGhSVMqlm6eRLe/DB1jA1IPndu/Zjmiwo30EAZ3XF2xKIilG6cw0GXdXiZf"
    "K+RD9jbZH1aoo+jrgzcx8iI2xtGC21FKLMWP7SjYY6F6zR8HJhUIjdG75dZLi6XiiW+AXOc3qp3f398jgsA/UjviqIBB"
    "SZ8q/xmeqn9/X38yvv7mQfqwAeyf3oKWTjrgpUJnjKzXxFLyP80IxexStlgsZgtL+ZyQLRYyOSGVFwrFVCoj5DO5bLaQ"
    "E/KC3abvjEQnTnzEbZc+anbg0zkaJo84985xL9o5AKIu5FcfGDZMvCTOJp5zNy4DRkwOL4+zEadcPG8dPIMB4IU7uybs"
    "gs+wwNO7XqyzA9zYj15syot1VrAbG/N7sGkv1ll/ERd2z4Edcu/Osph3gacDYEzBliWOW+iXN3t9gJzwnPeYXpkF+uOC"
    "syfH39786P5zBLguZsKO78b+A+vX03U="
)
OLD = (
    "eNptkEtP20AQx+21k9ClUB4tjz6kHpOLBUkQ5NJyQAhp+0wve6ks197GixZvxh6DWgkpF1DhM3DosR+jX6cfoVIPHROC"
    "SpXVPmdmf/OfGbFLbv5c7f9+fvjj3XowYq9/ebSfgtOUC47jDHOLNrYmPFZ5oW0GLgXIOfIYjWhUqLJERxmwb5KTEb8M"
    "VVjor6oA7xT8pqyRsUhtjlATTHr00hlCXfjSrxg2G0BD+GU5yTlD1ig4UXqQIrgx2jxOg7BEbQoe5upTqU0SosoKm4fH"
    "bQ6s2ZSNKgdFRgMF3vgL3zc2wg9jIwdfzlNMr9vpbG1u93ba2912F2rXcuJhSXLqbxAa74UjPMHOYUa4wjuHexcxVW5U"
    "jFR4wd/micpVsqdj5MBbfZhFuN+HuWvNRzYpjQoymE9JUjqR8YoKvFXx4K6Kzk5vsw0LaV24lH2RsrdaF2kFXkJY7sND"
    "6VJ4Co/uEA8i8/mWuPIfcWujuwGrRGREXKvqYWewLtwzeDwmP0F42odnVbs/Vu2e0hZ3GpNNk+6poO78O0YvadulSWtE"
    "6/sum7heOD/dm2vj5vwLWFagFQ=="
)


TENSORS = {
    # arange(6).reshape(2, 3).t(): a view with its strides exchanged
    "a.weight": np.array([[0, 3], [1, 4], [2, 5]], np.float32),
    "n": np.array(7, np.int64),  # called module.n in the file
    "h": np.array([1.5, -2.0], np.float16),
}


def _content(text: str) -> bytes:
    return zlib.decompress(base64.b64decode(text))


@pytest.mark.parametrize("text", [NEW, OLD], ids=["since 1.6", "before 1.6"])
def test_reads_what_torch_save_wrote(text: str, tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(_content(text))
    found = read_state_dict(path)
    assert set(found) == set(TENSORS)
    for name, expected in TENSORS.items():
        assert found[name].dtype == expected.dtype
        np.testing.assert_array_equal(found[name], expected)


def test_reads_safetensors(tmp_path: Path) -> None:
    tensors = {name: np.ascontiguousarray(a) for name, a in TENSORS.items()}
    save_file(tensors, tmp_path / "w.safetensors")
    found = read_state_dict(tmp_path / "w.safetensors")
    assert set(found) == set(tensors)
    np.testing.assert_array_equal(found["a.weight"], TENSORS["a.weight"])


class _Dangerous:
    """Runs code when an ordinary unpickler loads it."""

    def __reduce__(self) -> Any:
        return Path.touch, (Path("loaded"),)


@pytest.mark.parametrize("zipped", [True, False])
def test_runs_no_code(zipped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path, pickled = tmp_path / "w.pth", pickle.dumps({"x": _Dangerous()}, 2)
    if zipped:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("w/data.pkl", pickled)
    else:
        path.write_bytes(pickled)
    with pytest.raises(ValueError, match=r"w\.pth: expected tensors .* which is not loaded"):
        read_state_dict(path)
    assert not (tmp_path / "loaded").exists()
    pickle.loads(pickled)  # the trap would have worked
    assert (tmp_path / "loaded").exists()


@pytest.mark.parametrize("text", [NEW, OLD], ids=["since 1.6", "before 1.6"])
@pytest.mark.parametrize("kept", [0.0, 0.3, 0.6, 0.97])
def test_files_cut_short_are_refused(text: str, kept: float, tmp_path: Path) -> None:
    content, path = _content(text), tmp_path / "w.pth"
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(ValueError, match=r"w\.pth: expected tensors of PyTorch"):
        read_state_dict(path)


def _rezipped(change: dict[str, bytes]) -> bytes:
    """The new file with other contents of some of its members."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(_content(NEW))) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            new.writestr(name, change.get(name.split("/", 1)[1], old.read(name)))
    return out.getvalue()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data/0": b"\0" * 20}, "buffer is smaller"),
        ({"byteorder": b"big"}, "byte order b'big'"),
        ({"data.pkl": pickle.dumps([1, 2])}, "expected a state dict, found list"),
        ({"data.pkl": pickle.dumps({"epoch": 3})}, "tensors alone, found others in epoch"),
    ],
)
def test_damage_is_named(change: dict[str, bytes], message: str, tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(_rezipped(change))
    with pytest.raises(ValueError, match=message):
        read_state_dict(path)


def test_tensors_cannot_reach_beyond_their_storage(tmp_path: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(_content(NEW))) as archive:
        (name,) = [n for n in archive.namelist() if n.endswith("data.pkl")]
        pickled = archive.read(name)
    # the shape (3, 2), two one-byte integers and TUPLE2, becomes (3, 9)
    shape = b"K\x03K\x02\x86"
    assert pickled.count(shape) == 1
    path = tmp_path / "w.pth"
    path.write_bytes(_rezipped({"data.pkl": pickled.replace(shape, b"K\x03K\x09\x86")}))
    with pytest.raises(ValueError, match="reaches beyond its storage"):
        read_state_dict(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.pth: no such weights file"):
        read_state_dict(tmp_path / "none.pth")
