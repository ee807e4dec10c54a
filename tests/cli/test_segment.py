"""`cellml segment` from the outside: files, tables, bad input, interruption and resuming."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image
from typer.testing import CliRunner

from cellml.cli import app
from cellml.commands import segment
from cellml.errors import UsageError
from tests.cli.fake_model import discs, fake_predictor
from tests.data.test_images import bad_files


@pytest.fixture(autouse=True)
def fake(monkeypatch):
    """Puts the fake model in place; `shapes` lists what the latest run predicted."""

    def load(model: str, *, tta: str):
        predictor, shapes = fake_predictor(transforms=8 if tta == "d4" else 0, name=model)
        load.shapes = shapes
        return predictor

    monkeypatch.setattr(segment, "load_predictor", load)
    return load


@pytest.fixture
def images(tmp_path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    Image.fromarray(discs((70, 90), 30, 9, seed=1)).save(folder / "b.png")
    tifffile.imwrite(folder / "a.tif", discs((64, 64), 32, 8, seed=2).astype(np.uint16) * 99)
    rgba = np.stack([discs((40, 50), 25, 8)] * 3 + [np.full((40, 50), 255, np.uint8)], axis=-1)
    Image.fromarray(rgba).save(folder / "c.png")
    return folder


def call(*arguments: object):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def content(folder: Path) -> dict[str, bytes]:
    files = (p for p in sorted(folder.rglob("*")) if p.is_file())
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}


EVERYTHING = ("--uncertainty", "--overlay", "--rois", "--locations", "--tta", "d4")


def test_everything_is_written(images, tmp_path):
    out = tmp_path / "out"
    result = call("segment", images, "--out", out, *EVERYTHING)
    assert result.exit_code == 0, result.output
    kinds = ("labels.tif", "uncertainty.tif", "overlay.png", "rois.zip")
    for stem in "abc":
        for kind in kinds:
            assert (out / f"{stem}_{kind}").is_file()
        assert (out / "locations" / f"{stem}-Nuclei.csv").is_file()
    table = pd.read_csv(out / "nuclei.csv")
    exact = pd.read_parquet(out / "nuclei.parquet")
    assert list(table.columns) == list(exact.columns)
    pd.testing.assert_frame_equal(table, exact, atol=1e-4, check_dtype=False)
    for stem, group in table.groupby("image"):
        labels = tifffile.imread(out / f"{stem}_labels.tif")
        assert labels.dtype == np.uint16
        np.testing.assert_array_equal(group["label"], np.arange(1, labels.max() + 1))
        np.testing.assert_array_equal(group["area_px"], np.bincount(labels.ravel())[1:])
    # grey images have one channel, c has three
    assert table[table.image == "a"].mean_intensity_2.isna().all()
    assert table[table.image == "c"].mean_intensity_3.notna().all()
    assert table.vote_share.between(0.5, 1).all()
    assert "alpha channel dropped (1 image)" in result.output
    assert json.loads((out / "run.json").read_text())["state"] == "complete"
    assert not list(out.rglob(".cellml-tmp-*"))


def test_bad_images_are_listed_and_do_not_stop_the_rest(images, tmp_path):
    expected = bad_files(images)
    out = tmp_path / "out"
    result = call("segment", images, "--out", out)
    assert result.exit_code == 1
    lines = result.output.splitlines()
    assert f"{len(expected)} failed:" in lines
    for name, reason in expected.items():
        named = [line for line in lines if f"{images / name}: " in line]
        assert len(named) == 1, name
        assert reason in named[0]
    written = {p.name for p in out.iterdir() if p.suffix == ".tif"}
    assert written == {"a_labels.tif", "b_labels.tif", "c_labels.tif"}
    assert set(pd.read_csv(out / "nuclei.csv").image) == {"a", "b", "c"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("gone.png",), "no such file or folder"),
        (("nothing",), "no images in this folder"),
        (("in", "x/a.png"), "share the stem 'a'"),
        (("in", "--diameter-px", "0"), "--diameter-px 0"),
        (("in", "--channel", "0"), "counted from 1"),
        (("in", "--tile", "16"), "at least 256 px"),
        (("in", "--model", "m", "--weights", "w"), "exclude each other"),
    ],
)
def test_a_run_that_cannot_start_writes_nothing(images, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nothing").mkdir()
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "a.png").touch()
    with pytest.raises(UsageError, match=message):
        call("segment", *arguments, "--out", "out")
    assert not (tmp_path / "out").exists()


def test_two_channels_of_one_site_cannot_share_locations(images, tmp_path):
    for name in ("p_a01_s1_w1.png", "p_a01_s1_w2.png"):
        (images / "a.tif").rename(images / name) if "w1" in name else (images / name).touch()
    with pytest.raises(UsageError, match="same plate, well and site"):
        call("segment", images, "--out", tmp_path / "out", "--locations")


def test_interrupted_and_resumed_equals_never_interrupted(images, tmp_path, monkeypatch):
    call("segment", images, "--out", tmp_path / "whole", *EVERYTHING)

    out, original, done = tmp_path / "out", segment.segment_pixels, []

    def interrupt(*arguments, **options):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(1)
        return original(*arguments, **options)

    monkeypatch.setattr(segment, "segment_pixels", interrupt)
    result = call("segment", images, "--out", out, *EVERYTHING)
    assert result.exit_code == 130
    assert "--resume" in result.output
    assert not (out / "nuclei.csv").exists()
    assert {p.name for p in out.glob("*.tif")} == {
        f"{stem}_{kind}.tif" for stem in "ab" for kind in ("labels", "uncertainty")
    }
    assert json.loads((out / "run.json").read_text())["state"] == "interrupted"

    monkeypatch.setattr(segment, "segment_pixels", original)
    result = call("segment", images, "--out", out, *EVERYTHING, "--resume")
    assert result.exit_code == 0
    assert "2 done before" in result.output
    assert content(out) == content(tmp_path / "whole")


def test_failure_while_writing_leaves_no_file_of_that_image(images, tmp_path, monkeypatch):
    def fail(path, labels):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(segment, "write_rois", fail)
    result = call("segment", images, "--out", tmp_path / "out", "--rois")
    assert result.exit_code == 1
    assert not list((tmp_path / "out").glob("*.tif"))


def test_resume_redoes_what_changed_and_refuses_other_settings(images, tmp_path, fake):
    out = tmp_path / "out"
    call("segment", images, "--out", out, "--resume")
    before = content(out)
    call("segment", images, "--out", out, "--resume")
    assert fake.shapes == []
    assert content(out) == before
    Image.fromarray(discs((48, 50), 24, 7, seed=9)).save(images / "b.png")
    (out / "c_labels.tif").unlink()
    call("segment", images, "--out", out, "--resume")
    assert len(fake.shapes) == 2
    after = content(out)
    assert after["c_labels.tif"] == before["c_labels.tif"]
    assert after["b_labels.tif"] != before["b_labels.tif"]
    with pytest.raises(UsageError, match=r"other settings \(diameter_px: None then, 9\.0 now\)"):
        call("segment", images, "--out", out, "--resume", "--diameter-px", "9")
    assert content(out) == after


def test_new_run_replaces_the_table_of_the_old_one(images, tmp_path):
    out = tmp_path / "out"
    call("segment", images, "--out", out)
    call("segment", images / "a.tif", "--out", out)
    assert set(pd.read_csv(out / "nuclei.csv").image) == {"a"}


def test_stacks_give_one_result_a_page(tmp_path):
    pages = np.stack([discs((40, 60), 20, 6, seed=s) for s in range(3)])
    tifffile.imwrite(tmp_path / "z.tif", pages, photometric="minisblack")
    out = tmp_path / "out"
    assert call("segment", tmp_path / "z.tif", "--out", out).exit_code == 0
    assert len(list(out.glob("z_p00?_labels.tif"))) == 3
    assert (
        "3 images, 3 done before"
        in call("segment", tmp_path / "z.tif", "--out", out, "--resume").output
    )
    tifffile.imwrite(tmp_path / "z_p001.tif", pages[0])
    result = call("segment", tmp_path, "--out", tmp_path / "out2")
    assert result.exit_code == 1
    assert "rename one" in result.output


def test_input_folder_as_output_folder_twice(images):
    for _ in range(2):
        assert call("segment", images, "--out", images).exit_code == 0
    assert set(pd.read_csv(images / "nuclei.csv").image) == {"a", "b", "c"}
