"""`cellml profile export`: stores as asked, strips out and in, interruption, wrong options."""

import numpy as np
import pytest

from cellml.commands import profile_export
from cellml.data.cell_export import write_store
from cellml.data.cell_store import open_store
from cellml.data.crops import cut
from cellml.data.painting_project import open_project
from cellml.errors import UsageError, UserError
from tests.cli.screens import FIELDS, SIDE_PX, content, profile, simulated


@pytest.fixture(scope="module")
def screen(tmp_path_factory):
    """A screen, to which every test adds a store of another name."""
    return simulated(tmp_path_factory.mktemp("screen"))


def store_of(root, name):
    return open_store(root / "outputs" / name)


def test_cells_follow_the_configuration_unless_asked_otherwise(screen):
    code, text = profile("export", screen)
    assert code == 0
    assert f"original images of {FIELDS} fields; exact crops of {SIDE_PX} px" in text
    project, store = open_project(screen), store_of(screen, "single-cells")
    assert f"{len(store)} cells (" in text
    assert (store.channels, store.side_px, store.dtype) == (project.channels, SIDE_PX, np.uint16)
    assert store.index["treatment"].to_pylist()[0] == project.index["treatment"][0].as_py()
    expected = [
        cut(project.image(row), project.locations(row), side=SIDE_PX, mode="exact").pixels
        for row in range(FIELDS)
    ]
    np.testing.assert_array_equal(store.read(np.arange(len(store))), np.concatenate(expected))

    options = ("--side", 16, "--mode", "deepprofiler", "--normalisation", "minmax")
    profile("export", screen, "--store", "other", *options, "--masks", "keep", "--dtype", "uint8")
    other = store_of(screen, "other")
    assert (other.side_px, other.dtype, other.channels[-1]) == (16, np.uint8, "mask")
    assert {other.settings[key] for key in ("mode", "normalisation")} == {"deepprofiler", "minmax"}
    text = profile("export", screen, "--store", "other")[1]
    assert "note: all cells are cut again, the store was made with other settings (" in text
    assert "side_px: 16 then, 24 now" in text
    assert content(screen / "outputs" / "other") == content(screen / "outputs" / "single-cells")


def test_prepared_images_are_taken_once_there_are_some(tmp_path):
    root = simulated(tmp_path)
    profile("prepare", root)
    assert "prepared images" in profile("export", root)[1]
    assert store_of(root, "single-cells").dtype == np.uint8
    assert "original" in profile("export", root, "--store", "o", "--images", "original")[1]
    assert store_of(root, "o").dtype == np.uint16
    next((root / "outputs" / "compressed").rglob("*.png")).unlink()
    with pytest.raises(UserError, match="`cellml profile prepare` makes it"):
        profile("export", root, "--store", "incomplete")


def test_strips_go_out_and_come_back(screen, tmp_path):
    options = ("--normalisation", "minmax", "--masks", "keep", "--dtype", "uint8")
    code, text = profile("export", screen, "--store", "a", *options, "--strips", tmp_path / "s")
    store = store_of(screen, "a")
    assert code == 0
    assert f"{len(store)} strips in {tmp_path / 's'}" in text
    assert (tmp_path / "s" / "sc-metadata.csv").is_file()
    profile("export", screen, "--store", "b", "--from-strips", tmp_path / "s")
    back = store_of(screen, "b")
    rows = np.arange(len(store))
    assert back.channels == store.channels
    np.testing.assert_array_equal(back.read(rows), store.read(rows))
    for name in ("plate", "well", "site", "y_px", "x_px", "status", "treatment"):
        assert back.index[name].to_pylist() == store.index[name].to_pylist(), name


def test_interrupted_and_resumed_equals_never_interrupted(screen, monkeypatch):
    profile("export", screen, "--store", "whole")

    def stopping(project, folder, settings, *, workers, progress, **options):
        def count(done, total):
            progress(done, total)
            if done == 4:  # in the second plate
                raise KeyboardInterrupt

        return write_store(project, folder, settings, workers=workers, progress=count, **options)

    monkeypatch.setattr(profile_export, "write_store", stopping)
    code, text = profile("export", screen, "--store", "stopped")
    assert code == 130
    assert "Run the same command to go on" in text
    with pytest.raises(UsageError, match="unfinished"):
        store_of(screen, "stopped")
    monkeypatch.undo()
    assert profile("export", screen, "--store", "stopped")[0] == 0
    assert content(screen / "outputs" / "stopped") == content(screen / "outputs" / "whole")


def test_fields_without_locations(tmp_path):
    root = simulated(tmp_path)
    open_project(root).locations_file(1).unlink()
    with pytest.raises(UserError, match="no locations"):
        profile("export", root, "--store", "strict")
    profile("export", root, "--missing-locations", "empty")
    index = store_of(root, "single-cells").index
    assert set(index["plate"].to_pylist()) == set(open_project(root).plates)
    assert len(set(zip(*(index[k].to_pylist() for k in ("plate", "well")), strict=True))) == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--workers", 0), "--workers 0"),
        (("--side", 1), "--side 1: at least 2"),
        (("--images", "raw"), "--images raw: one of auto, prepared, original"),
        (("--images", "prepared"), "`cellml profile prepare` makes it"),
        (("--mode", "x"), "mode is 'x', one of deepprofiler, exact expected"),
        (("--dtype", "float32"), "dtype is 'float32'"),
        (("--store", "../x"), "the name of a folder in outputs/"),
        (("--from-strips", "s", "--side", 9), "taken as they are"),
        (("--from-strips", "s", "--strips", "t"), "exclude each other"),
        (("--from-strips", "gone"), "sc-metadata.csv: no such file"),
    ],
)
def test_what_cannot_be_is_one_line_and_leaves_nothing(screen, options, message):
    with pytest.raises(UserError) as error:
        profile("export", screen, "--store", "never", *options)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert not (screen / "outputs" / "never").exists()
