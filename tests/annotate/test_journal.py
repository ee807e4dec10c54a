"""The journal survives a kill at any byte, and says so where it does not."""

import json
import os

import pytest

from cellml.annotate import journal
from cellml.annotate.document import Document
from cellml.annotate.journal import FolderLock, Journal, last_summary
from cellml.errors import UsageError, UserError
from tests.annotate.server_fakes import add

SIZE = (50, 60)


@pytest.fixture
def path(tmp_path):
    """A journal of three steps; the last one is a redo."""
    path = tmp_path / "journals" / "a.png.jsonl"
    document = Document(Journal(path), SIZE)
    document.apply([add(1, 1, 10, 10)], 0)
    document.apply([add(20, 20, 30, 30, **{"class": "zelle ä"}), {"op": "remove", "ids": [1]}], 1)
    document.undo(2)
    return path


def state(path, **options):
    document = Document(Journal(path, **options), SIZE)
    return {item.id for item in document.objects.values()}, document


def test_what_stands_in_a_line(path):
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [line["revision"] for line in lines] == [1, 2, 3]
    assert [line["undo_of"] for line in lines] == [None, None, 2]
    assert [o["id"] for o in lines[1]["removed"]] == [1]
    assert [o["id"] for o in lines[1]["added"]] == [2]
    assert lines[2]["added"] == lines[1]["removed"]
    assert lines[1]["summary"] == {"objects": 1, "done": False, "classes": {"zelle ä": 1}}


def test_killed_at_every_byte_of_the_last_line(path):
    data = path.read_bytes()
    start = data[:-1].rindex(b"\n") + 1
    for end in range(start, len(data)):
        path.write_bytes(data[:end])
        ids, document = state(path)
        assert (ids, document.revision) == ({2}, 2)
        assert path.read_bytes() == data[:start], "the half line is cut off"
        assert len(document.notes) == (end > start)
        document.undo(2)  # and it goes on
        assert state(path)[0] == {1}
    path.write_bytes(data)
    assert state(path)[0] == {1}


def test_a_half_line_is_ignored_where_nothing_can_be_written(path):
    half = path.read_bytes()[:-5]
    path.write_bytes(half)
    ids, document = state(path, writable=False)
    assert ids == {2}
    assert "is ignored" in document.notes[0]
    assert path.read_bytes() == half


@pytest.mark.parametrize(
    ("line", "damage", "sentence"),
    [
        (2, b'{"revision":2,"rem\n', "line 2 is damaged (not JSON)"),
        (2, b'{"revision":7,"removed":[],"added":[]}\n', "revision 7 found, 2 expected"),
        (1, b'{"revision":1,"removed":[]}\n', "line 1 is damaged (no added)"),
        (1, b"[1]\n", "line 1 is damaged (no revision)"),
        (2, b'{"revision":2,"removed":[{"id":9}],"added":[]}\n', "line 2 does not follow"),
        (2, b'{"revision":2,"removed":[],"added":[],"undo_of":5}\n', "line 2 does not follow"),
        (3, b'{"revision":3,"removed":[],"added":[{"id":5}]}\n', "object 5: kind None"),
    ],
)
def test_a_damaged_line_is_named(path, line, damage, sentence):
    lines = path.read_bytes().splitlines(keepends=True)
    lines[line - 1] = damage
    path.write_bytes(b"".join(lines))
    with pytest.raises(UserError) as caught:
        state(path)
    assert sentence in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_full_disk_leaves_file_and_state_as_they_were(path, monkeypatch):
    _, document = state(path)
    before = path.read_bytes()

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(journal.os, "fsync", full)
    with pytest.raises(UserError, match=r"No space left on device\); not saved"):
        document.apply([add(5, 5, 9, 9)], 3)
    assert path.read_bytes() == before
    assert (set(document.objects), document.revision) == ({1}, 3)
    monkeypatch.undo()
    document.apply([add(5, 5, 9, 9)], 3)
    assert state(path)[0] == {1, 3}


def test_entries_are_on_the_disk_before_the_answer(path, monkeypatch):
    synced = []
    monkeypatch.setattr(journal.os, "fsync", lambda handle: synced.append(os.fstat(handle).st_size))
    _, document = state(path)
    document.apply([add(5, 5, 9, 9)], 3)
    assert synced == [path.stat().st_size]


def test_somebody_elses_line_is_not_overwritten(path):
    _, first = state(path)
    _, second = state(path)
    second.apply([add(5, 5, 9, 9)], 3)
    with pytest.raises(UserError, match="changed by another program"):
        first.apply([add(6, 6, 9, 9)], 3)
    assert first.is_stale()
    assert not second.is_stale()
    assert state(path)[0] == {1, 3}


def test_appending_costs_the_change_not_the_state(tmp_path):
    path = tmp_path / "a.jsonl"
    document = Document(Journal(path), (1000, 1000))
    many = [add(x, y, x + 4, y + 4) for x in range(0, 500, 10) for y in range(0, 100, 10)]
    document.apply(many, 0)
    before = path.stat().st_size
    change = document.apply([add(600, 600, 610, 610)], 1)
    assert len(change.objects) == 1
    assert path.stat().st_size - before < 500 < before / 100


def test_the_summary_is_read_from_the_end(path, monkeypatch):
    monkeypatch.setattr(journal, "TAIL_BYTES", 16)  # several steps back
    assert last_summary(path) == {"objects": 1, "done": False, "classes": {"nucleus": 1}}
    path.write_bytes(path.read_bytes() + b'{"revision":4,"half')
    assert last_summary(path) == {"objects": 1, "done": False, "classes": {"nucleus": 1}}
    path.write_bytes(path.read_bytes()[:30])
    assert last_summary(path) is None
    assert last_summary(path.with_name("none")) is None


def test_one_server_a_folder(tmp_path):
    lock = FolderLock(tmp_path / "out")
    with pytest.raises(UsageError, match=f"process {os.getpid()}.* has it open"):
        FolderLock(tmp_path / "out")
    lock.release()
    lock.release()
    FolderLock(tmp_path / "out").release()
