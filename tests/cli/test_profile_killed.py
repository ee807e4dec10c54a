"""Killed at any point and called again, every step leaves the bytes of a run that was not."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from cellml.data.screen_simulation import ScreenDesign
from cellml.data.screen_simulation_project import write_project
from tests.cli.screens import DESIGN, SIDE_PX, content

REPOSITORY = Path(__file__).parents[2]
STEPS = {
    # before which renaming: of statistics, of images; of rows of fields and plates; ...
    "prepare": (("prepare",), (1, 5, 20)),
    "export": (("export", "--images", "original", "--masks", "keep"), (2, 3, 5)),
    "embed": (("embed", "--model", "classical", "--batch-size", "3", "--npz"), (1, 2, 3)),
    "aggregate": (("aggregate", "-e", "classical", "--status", "ok", "--status", "edge"), (1, 3)),
}


def run(calls: list[tuple[list[str], int]]) -> list[int]:
    ended = subprocess.run(
        [sys.executable, "-m", "tests.cli.killed_profile", json.dumps(calls)],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


def test_killed_again_and_again_and_resumed_gives_the_same_bytes(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    write_project(whole, ScreenDesign(**DESIGN), box_size=SIDE_PX)
    shutil.copytree(whole, killed)  # with the times of the files
    calls, expected = [], []
    for (command, *options), moments in STEPS.values():
        calls.append(([command, str(whole), *options], 0))
        calls += [([command, str(killed), *options], moment) for moment in (*moments, 0)]
        expected += [0, *(-9 for _ in moments), 0]
    assert run(calls) == expected
    reference = content(whole / "outputs")
    outcome = {  # aggregate.json names the folder that it read
        name: found.replace(str(killed).encode(), str(whole).encode())
        for name, found in content(killed / "outputs").items()
    }
    assert {name.split("/")[0] for name in reference} == {
        "intensities",
        "compressed",
        "single-cells",
        "classical",
    }
    assert sorted(outcome) == sorted(reference)
    assert [name for name in reference if outcome[name] != reference[name]] == []
