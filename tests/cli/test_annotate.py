"""`cellml annotate` as a process: its address, its messages, Ctrl-C, a kill, a second one."""

import json
import re
import signal
import socket
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cellml.annotate import server
from cellml.commands.annotate import class_names
from cellml.errors import UsageError

ADDRESS = re.compile(r"http://127\.0\.0\.1:(\d+)/\?token=(\S+)")


@pytest.fixture
def folder(tmp_path) -> Path:
    for name in ("a", "b"):
        Image.fromarray(np.zeros((30, 40), np.uint8)).save(tmp_path / f"{name}.png")
    return tmp_path


@pytest.fixture
def start(start_cellml, tiny_weights):
    """Starts the server and reads its address; whatever still runs is killed in the end."""
    model, running = tiny_weights(), []

    def begin(*arguments):
        process = start_cellml("annotate", *arguments, "--model", model)
        running.append(process)
        lines = []
        for line in process.stdout:
            lines.append(line)
            if found := ADDRESS.search(line):
                return process, f"http://127.0.0.1:{found[1]}", found[2], "".join(lines)
        raise AssertionError("".join(lines) + process.stderr.read())

    yield begin
    for process in running:
        process.kill()
        process.communicate()


def ask(address, token, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address + path, data, {"X-Token": token})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())


def test_kill_restart_and_ctrl_c(start, start_cellml, folder):
    process, address, token, text = start(folder, "--classes", "cell,dead")
    assert "2 images of" in text
    ring = [[1, 1], [9, 1], [9, 9]]
    item = {"kind": "instance", "class": "cell", "polygons": [[ring]]}
    body = {"base_revision": 0, "operations": [{"op": "add", "object": item}]}
    ask(address, token, "/api/images/0/operations", body)
    second = start_cellml("annotate", folder)
    _, err = second.communicate(timeout=300)
    assert second.returncode == 2
    assert f"(process {process.pid}) has it open" in err
    process.kill()
    process.wait()
    process, address, new_token, _ = start(folder)
    assert new_token != token
    found = ask(address, new_token, "/api/folder")
    assert [image["n_objects"] for image in found["images"]] == [1, 0]
    assert [item["name"] for item in found["classes"]] == ["cell", "dead"]
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert "everything is saved" in out


def test_a_port_that_is_taken():
    with socket.socket() as other:
        other.bind((server.HOST, 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(UsageError, match=f"--port {port}: another program uses this port"):
            server.bind(port)
    with server.bind(port) as free:
        assert server.address(free, "x") == f"http://127.0.0.1:{port}/?token=x"
    with pytest.raises(UsageError, match="0 to 65535"):
        server.bind(70000)


def test_tokens_cannot_be_guessed():
    tokens = {server.make_token() for _ in range(20)}
    assert len(tokens) == 20
    assert min(map(len, tokens)) >= 32


def test_what_cannot_start_is_one_line(call_cellml, folder):
    code, _, err = call_cellml("annotate", folder / "missing")
    assert (code, err.count("\n")) == (2, 1)
    assert "no such folder" in err


def test_names_of_classes():
    assert class_names(" cell , dead,cell,") == ["cell", "dead"]
    assert class_names(None) == []
    with pytest.raises(UsageError, match="names with commas"):
        class_names(" ,")
