"""`cellml profile prepare`: images, summary, interruption and resuming, wrong options."""

import json
import signal
import time

import pytest

from cellml.commands import profile_prepare
from cellml.data.painting_project import open_project
from cellml.data.prepare import prepare
from cellml.errors import UsageError, UserError
from tests.cli.screens import FIELDS, content, profile, simulated


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Files that one undisturbed run writes."""
    root = simulated(tmp_path_factory.mktemp("screen"))
    code, text = profile("prepare", root)
    assert code == 0
    assert f"{FIELDS * 5} images of 2 plates in {root}" in text
    return content(root / "outputs")


def without_statistics(files: dict[str, bytes]) -> dict[str, bytes]:
    """Statistics hold the times of the images, which another copy of a screen has not."""
    return {name: data for name, data in files.items() if not name.endswith(".npz")}


def test_interrupted_and_resumed_equals_never_interrupted(tmp_path, monkeypatch, prepared):
    root = simulated(tmp_path)

    def stopping(project, *, workers, progress):
        def count(done, total):
            progress(done, total)
            if done == FIELDS // 2 + 2:  # the first plate's statistics, and two of its fields
                raise KeyboardInterrupt

        return prepare(project, workers=workers, progress=count)

    monkeypatch.setattr(profile_prepare, "prepare", stopping)
    code, text = profile("prepare", root)
    assert code == 130
    assert "Run the same command to go on" in text
    assert 0 < len(list(root.rglob("*.png"))) - FIELDS < FIELDS * 5
    kept = {path: path.stat().st_mtime_ns for path in (root / "outputs").rglob("*.png")}
    monkeypatch.undo()
    assert profile("prepare", root)[0] == 0
    assert all(path.stat().st_mtime_ns == when for path, when in kept.items())
    assert without_statistics(content(root / "outputs")) == without_statistics(prepared)
    assert open_project(root, prepared=True).image(0).dtype == "uint8"


def test_a_signal_ends_the_process_cleanly(tmp_path, start_cellml, prepared):
    root = simulated(tmp_path)
    process = start_cellml("profile", "prepare", root, "--workers", 2)
    deadline = time.monotonic() + 120
    while not (root / "outputs").is_dir() and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=120)
    # plates that were begun are ended; so few may all have been
    assert (process.returncode, err) in ((130, ""), (0, ""))
    assert ("Interrupted" in out) == (process.returncode == 130)
    assert not list((root / "outputs").rglob(".cellml-tmp-*"))
    assert profile("prepare", root)[0] == 0
    assert without_statistics(content(root / "outputs")) == without_statistics(prepared)


def test_compression_may_be_off(tmp_path):
    root = simulated(tmp_path)
    path = root / "inputs" / "config" / "screen.json"
    config = json.loads(path.read_text())
    config["prepare"]["compression"]["implement"] = False
    (path.parent / "plain.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="one configuration"):
        profile("prepare", root)
    code, text = profile("prepare", root, "--config", "plain.json")
    assert code == 0
    assert "images stay as they are" in text
    assert not (root / "outputs").exists()


def test_wrong_options(tmp_path):
    with pytest.raises(UserError, match="no project, a folder with 'inputs' expected"):
        profile("prepare", tmp_path)
    with pytest.raises(UsageError, match="--workers 0: at least 1"):
        profile("prepare", tmp_path, "--workers", 0)
