"""Data sets on disk: built once, whole or not at all, read back without TensorFlow."""

import concurrent.futures
import functools
import http.server
import pickle
import subprocess
import sys
import threading
import zipfile

import numpy as np
import PIL.Image
import pytest

from cellml import datasets
from cellml.data.nuclei_folders import DataError
from cellml.data.simulation import simulate_field
from cellml.errors import UserError

SIZES = (3, 2, 1)
SHAPE = (48, 64)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


def _simulated(data_dir, split, **config):
    config = {"sizes": SIZES, "shape": SHAPE} | config
    return datasets.load_source("nuclei_simulated", split, data_dir=data_dir, **config)


def _write_kaggle(root, n_cases=6, broken=None):
    """Cases in Kaggle's layout; every third is tissue."""
    for number in range(n_cases):
        modality = "fluorescence" if number % 3 else "tissue"
        image, labels = simulate_field(
            np.random.default_rng(number), modality=modality, shape=SHAPE, diameter_px=12.0
        )
        folder = root / "stage1_train" / f"case{number}"
        (folder / "images").mkdir(parents=True)
        (folder / "masks").mkdir()
        rgb = np.broadcast_to(image, (*SHAPE, 3)).copy()
        PIL.Image.fromarray(rgb).save(folder / "images" / f"case{number}.png")
        for label in range(1, labels.max() + 1):
            mask = np.where(labels == label, 255, 0).astype(np.uint8)
            PIL.Image.fromarray(mask).save(folder / "masks" / f"{label:03d}.png")
    if broken:
        path = root / "stage1_train" / broken / "images" / f"{broken}.png"
        path.write_bytes(path.read_bytes()[:500])
    return root


@pytest.fixture(scope="module")
def kaggle(tmp_path_factory):
    return _write_kaggle(tmp_path_factory.mktemp("kaggle"))


@pytest.mark.parametrize("content", ["mixed", "fluorescence_16bit"])
def test_simulated_round_trip(data_dir, content):
    source = _simulated(data_dir, "train", content=content)
    assert len(source) == SIZES[0]
    for number, record in enumerate(source):
        tissue = content == "mixed" and number % 2 == 1
        image, labels = simulate_field(
            np.random.default_rng((0, 0, number)),
            modality="tissue" if tissue else "fluorescence",
            shape=SHAPE,
            bits=16 if content.endswith("16bit") else 8,
        )
        assert record["id"] == source.ids[number] == f"train_{number:05d}"
        assert record["modality"] == ("tissue" if tissue else "fluorescence")
        assert record["image"].dtype == image.dtype
        assert record["labels"].dtype == np.uint16
        np.testing.assert_array_equal(record["image"], image)
        np.testing.assert_array_equal(record["labels"], labels)
        assert source.cases[number]["n_nuclei"] == labels.max()


def test_splits_and_seeds_differ(data_dir):
    train, test = _simulated(data_dir, "train"), _simulated(data_dir, "test")
    assert (len(train), len(test)) == (SIZES[0], SIZES[2])
    assert (train[0]["image"] != test[0]["image"]).any()
    other = _simulated(data_dir, "train", seed=1)
    assert (train[0]["image"] != other[0]["image"]).any()


def test_dsb2018_from_kaggle_layout(data_dir, kaggle):
    load = functools.partial(datasets.load_source, "dsb2018", data_dir=data_dir, manual_dir=kaggle)
    everything = load("all")
    assert everything.ids == [f"case{number}" for number in range(6)]
    assert [record["modality"] == "tissue" for record in everything] == [True, False, False] * 2
    assert everything[0]["image"].shape == (*SHAPE, 3)
    assert everything[1]["image"].shape == (*SHAPE, 1)
    _, labels = simulate_field(
        np.random.default_rng(1), modality="fluorescence", shape=SHAPE, diameter_px=12.0
    )
    np.testing.assert_array_equal(everything[1]["labels"], labels)
    assert load("tissue").ids == load("all[tissue]").ids == ["case0", "case3"]
    assert sorted(load("fluo_30/train").ids + load("fluo_30/test").ids) == load("fluo").ids
    assert sorted(load("train").ids + load("validation").ids) == everything.ids


def test_a_changed_folder_is_a_new_data_set(data_dir, tmp_path):
    root = _write_kaggle(tmp_path, n_cases=2)
    load = functools.partial(datasets.load_source, "dsb2018", "all", data_dir=data_dir)
    before = load(manual_dir=root)
    path = root / "stage1_train" / "case1" / "images" / "case1.png"
    PIL.Image.fromarray(np.full(SHAPE, 9, np.uint8)).save(path)
    assert (load(manual_dir=root)[1]["image"] == 9).all()
    assert (before[1]["image"] != 9).any()


def test_a_broken_file_is_named_and_leaves_nothing(tmp_path):
    root = _write_kaggle(tmp_path / "source", n_cases=3, broken="case2")
    data_dir = tmp_path / "data"
    for _ in range(2):  # the second time nothing half-built is taken for whole
        with pytest.raises(DataError, match=r"case2\.png: cannot be read as an image"):
            datasets.load_source("dsb2018", "all", data_dir=data_dir, manual_dir=root)
    assert not [path for path in data_dir.rglob("*") if path.is_file()]


def test_an_interrupted_build_leaves_nothing(tmp_path, monkeypatch):
    from cellml.datasets.nuclei_simulated import nuclei_simulated_dataset_builder as builder

    def interrupted(rng, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(builder, "simulate_field", interrupted)
        with pytest.raises(KeyboardInterrupt):
            _simulated(tmp_path, "train")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(_simulated(tmp_path, "train")) == SIZES[0]


def test_pickled_copy_and_threads_read_the_same(data_dir):
    source = _simulated(data_dir, "train")
    expected = [record["image"] for record in source]
    copy = pickle.loads(pickle.dumps(source))
    rows = [0, 1, 2] * 20
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for row, record in zip(rows, pool.map(copy.__getitem__, rows), strict=True):
            np.testing.assert_array_equal(record["image"], expected[row])


def test_rows_and_selection(data_dir):
    source = _simulated(data_dir, "train")
    assert source[-1]["id"] == "train_00002"
    assert source[np.int64(1)]["id"] == "train_00001"
    with pytest.raises(IndexError, match="row 3 of 3"):
        source[3]
    chosen = source.select(["train_00002", "train_00000"])
    assert [record["id"] for record in chosen] == ["train_00000", "train_00002"]
    with pytest.raises(KeyError, match="nobody"):
        source.select(["nobody"])


@pytest.mark.parametrize(
    ("name", "split", "options", "message"),
    [
        ("cells", "train", {}, "unknown data set 'cells'; known are dsb2018, nuclei_simulated"),
        ("dsb2018", "fluo_20", {}, "unknown split 'fluo_20' of dsb2018; known are all, train"),
        ("dsb2018", "train[red]", {}, r"'train\[red\]' is not of the form"),
        ("dsb2018", "train", {"seed": 1}, "dsb2018 has no setting 'seed'"),
        ("dsb2018", "train", {"manual_dir": "/nowhere"}, "/nowhere: no such folder"),
        ("nuclei_simulated", "all", {}, "unknown split 'all' of nuclei_simulated; known are train"),
        ("nuclei_simulated", "train", {"content": "xray"}, "unknown content 'xray'"),
        ("nuclei_simulated", "train", {"sizes": (0, 1, 1)}, "at least 1"),
        ("nuclei_simulated", "train", {"colour": 1}, "colour"),
    ],
)
def test_mistakes_are_named(tmp_path, name, split, options, message):
    with pytest.raises(UserError, match=message):
        datasets.load_source(name, split, data_dir=tmp_path, **options)
    assert not list(tmp_path.iterdir())


def test_default_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("CELLML_DATA_DIR", raising=False)
    assert str(datasets.default_data_dir()) == "data"
    monkeypatch.setenv("CELLML_DATA_DIR", str(tmp_path))
    assert datasets.default_data_dir() == tmp_path


@pytest.fixture
def server(kaggle, tmp_path):
    """Serves the cases as a ZIP archive, as the Broad Institute does; yields (URL, archive)."""
    archive = tmp_path / "www" / "stage1_train.zip"
    archive.parent.mkdir()
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted((kaggle / "stage1_train").rglob("*.png")):
            file.write(path, path.relative_to(kaggle / "stage1_train"))
    handler = functools.partial(_Quiet, directory=str(archive.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{web.server_port}/stage1_train.zip", archive
        web.shutdown()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format, *args):
        del format, args


def test_download(server, tmp_path, monkeypatch):
    from cellml.datasets.dsb2018.dsb2018_dataset_builder import Builder

    url, archive = server
    monkeypatch.setattr(Builder, "url", url)
    load = functools.partial(datasets.load_source, "dsb2018", "all", data_dir=tmp_path / "data")
    with pytest.raises(DataError, match="expected 670 cases, found 6"):
        load()
    monkeypatch.setattr(Builder, "n_cases", 6)
    assert len(load()) == 6
    (record,) = (tmp_path / "data").rglob("stage1_train.zip.sha256")
    digest, size, _ = record.read_text().split()
    assert (len(digest), int(size)) == (64, archive.stat().st_size)

    # Another download with another hash than the first is refused.
    record.write_text(f"{'0' * 64}  {size}  {url}\n")
    for path in (tmp_path / "data" / "dsb2018").rglob("dataset_info.json"):
        path.unlink()
    with pytest.raises(DataError, match="the first download had 0000"):
        load()


def test_needs_no_tensorflow(data_dir):
    _simulated(data_dir, "train")
    program = (
        "import sys\n"
        "from cellml.datasets import load_source\n"
        "assert 'tensorflow_datasets' not in sys.modules\n"
        f"s = load_source('nuclei_simulated', 'train', data_dir={str(data_dir)!r},\n"
        f"    sizes={SIZES!r}, shape={SHAPE!r})\n"
        "assert 'tensorflow' not in sys.modules\n"
        "print(s[0]['image'].shape)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:cellml", "-c", program],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, str((*SHAPE, 1))), done.stderr


def test_the_builder_lists_no_config_that_a_default_one_would_collide_with():
    from cellml.datasets.nuclei_simulated import nuclei_simulated_dataset_builder as builder

    listed = {config.name for config in builder.Builder.BUILDER_CONFIGS}
    assert builder.make_config().name not in listed  # tfds refuses such a config
