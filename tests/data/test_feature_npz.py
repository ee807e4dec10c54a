"""DeepProfiler's NPZ: round trip, files as DeepProfiler writes them, and pickles that attack."""

import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from cellml.data.cell_export import cell_rows
from cellml.data.feature_files import FeatureWriter
from cellml.data.feature_npz import export_npz, npz_path, npz_plates, npz_sites, read_npz, write_npz
from cellml.errors import UserError

KEY = ("007", "B03", "2")


def _features(n: int = 4) -> np.ndarray:
    return np.random.default_rng(n).normal(size=(n, 3)).astype(np.float32)


def test_round_trip_and_numpy_reads_it(tmp_path: Path) -> None:
    centres = np.array([[1, 2], [3, 4], [5, 6], [7, 8]], np.float32)
    path = write_npz(tmp_path, KEY, _features(), centres, {"Metadata_moa": "m"})
    assert path == npz_path(tmp_path, KEY) == tmp_path / "007" / "B03" / "2.npz"
    found = read_npz(path)
    np.testing.assert_array_equal(found.features, _features())
    np.testing.assert_array_equal(found.locations_yx, centres)
    assert found.metadata == {
        "Metadata_moa": "m",
        "Metadata_Plate": "007",
        "Metadata_Well": "B03",
        "Metadata_Site": "2",
    }
    assert found.status is None
    with np.load(path, allow_pickle=True) as file:  # our own file
        assert file["metadata"].item()["Metadata_Plate"] == "007"
        np.testing.assert_array_equal(file["locations"][0], [2, 1])  # x, y


def test_equal_content_is_equal_bytes(tmp_path: Path) -> None:
    texts = [{"Metadata_a": "same", "Metadata_b": "same"}, {}]
    texts[1] = {k: "".join(v) for k, v in texts[0].items()}  # equal, not the same object
    texts[1]["Metadata_b"] = "".join(["sa", "me"])
    centres = np.zeros((4, 2), np.float32)
    one, two = (
        write_npz(tmp_path / name, KEY, _features(), centres, facts).read_bytes()
        for name, facts in zip("ab", texts, strict=True)
    )
    assert one == two


def test_metadata_as_deepprofiler_has_them(tmp_path: Path) -> None:
    metadata = {
        "Metadata_Plate": "007",
        "Metadata_Site": np.int64(2),
        "Metadata_dose": 0.5,
        "Metadata_gone": float("nan"),
        "flag": np.bool_(True),
        "none": None,
    }
    np.savez_compressed(tmp_path / "a.npz", features=_features(), metadata=np.array(metadata))
    assert read_npz(tmp_path / "a.npz").metadata == {
        "Metadata_Plate": "007",
        "Metadata_Site": "2",
        "Metadata_dose": "0.5",
        "Metadata_gone": "",
        "flag": "True",
        "none": "",
    }
    np.savez(tmp_path / "old.npz", f=_features().astype(np.float64))
    old = read_npz(tmp_path / "old.npz")
    assert old.features.dtype == np.float32
    assert old.metadata == {}
    assert old.locations_yx.shape == (0, 2)


class _Attack:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("where", ["value", "whole", "subclass"])
def test_a_pickle_runs_nothing(tmp_path: Path, where: str) -> None:
    marker = tmp_path / "pwned"
    attack = {"value": {"Metadata_x": _Attack(marker)}, "whole": _Attack(marker)}
    metadata = attack.get(where, OrderedDict(a="b"))
    np.savez(tmp_path / "a.npz", features=_features(), metadata=np.array(metadata, dtype=object))
    found = read_npz(tmp_path / "a.npz")
    assert not marker.exists()
    assert found.metadata is None
    np.testing.assert_array_equal(found.features, _features())
    if where == "value":
        with np.load(tmp_path / "a.npz", allow_pickle=True) as file:
            _ = file["metadata"]
        assert marker.exists()  # the attack would have worked


def test_features_that_are_pickled_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", features=np.array([_Attack(tmp_path / "pwned")], dtype=object))
    with pytest.raises(UserError, match="no readable NPZ"):
        read_npz(tmp_path / "a.npz")
    assert not (tmp_path / "pwned").exists()


def test_damaged_metadata_leave_the_features(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", features=_features(), metadata=np.array({"a": "b"}, dtype=object))
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    cut = parts["metadata.npy"].index(pickle.dumps({})[:1])
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("features.npy", parts["features.npy"])
        archive.writestr("metadata.npy", parts["metadata.npy"][: cut + 9])
    assert read_npz(tmp_path / "b.npz").metadata is None


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(UserError, match=r"a\.npz: no readable NPZ"):
        read_npz(path)
    np.savez(path, values=_features())
    with pytest.raises(UserError, match="no 'features', found values"):
        read_npz(path)
    np.savez(path, features=_features()[0])
    with pytest.raises(UserError, match="a table of numbers expected"):
        read_npz(path)


def test_plates_and_sites_in_order(tmp_path: Path) -> None:
    none = np.zeros((4, 2), np.float32)
    for key in [("P2", "A01", "10"), ("P2", "A01", "2"), ("007", "B03", "1"), ("P2", "a2", "1")]:
        write_npz(tmp_path, key, _features(), none, {})
    assert npz_plates(tmp_path) == ("007", "P2")
    keys = [key for key, _ in npz_sites(tmp_path, "P2")]
    assert keys == [("P2", "A01", "2"), ("P2", "A01", "10"), ("P2", "A02", "1")]
    write_npz(tmp_path, ("P2", "A02", "1"), _features(), none, {})
    with pytest.raises(UserError, match="the same field as"):
        npz_sites(tmp_path, "P2")
    write_npz(tmp_path, ("P3", "well", "1"), _features(), none, {})
    with pytest.raises(UserError, match="'well' is no well"):
        npz_sites(tmp_path, "P3")


def test_export_of_parquet(tmp_path: Path) -> None:
    rows = cell_rows(KEY, np.ones((4, 2), np.float32), np.array([0, 1, 0, 2], np.uint8),
                     treatment="drug", metadata={"Metadata_moa": "m"})  # fmt: skip
    writer = FeatureWriter(tmp_path / "features", "007", "abc", {"model": "effnet"})
    writer.add(rows, _features())
    writer.finish()
    ticks: list[int] = []
    assert export_npz(tmp_path / "features", tmp_path / "npz", "007", lambda: ticks.append(1)) == 1
    assert ticks == [1]
    found = read_npz(npz_path(tmp_path / "npz", KEY))
    np.testing.assert_array_equal(found.features, _features())
    assert found.status is not None
    assert found.status.tolist() == [0, 1, 0, 2]
    assert found.metadata is not None
    assert found.metadata["Metadata_treatment"] == "drug"
    assert found.metadata["Metadata_Model"] == "effnet"
