"""Counting the sources: what borg would read, without following links, until told to stop."""

import os
import threading
from pathlib import Path

import pytest

from jobs.estimate import Totals
from worker.scan import SCAN, scan


@pytest.fixture
def go():
    return threading.Event()


def test_files_and_bytes_of_all_sources_are_counted(tmp_path, go):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "one").write_bytes(b"x" * 10)
    (tmp_path / "a" / "b" / "two").write_bytes(b"x" * 20)
    (tmp_path / "three").write_bytes(b"x" * 5)
    totals = scan([str(tmp_path / "a"), str(tmp_path / "three")], go)
    assert (totals.files, totals.size, totals.source) == (3, 35, "scan")


def test_links_are_not_followed(tmp_path, go):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").write_bytes(b"x")
    (tmp_path / "real" / "loop").symlink_to(tmp_path)
    (tmp_path / "real" / "again").symlink_to(tmp_path / "real" / "file")
    assert scan([str(tmp_path)], go).files == 1


def test_what_is_no_file_is_not_counted(tmp_path, go):
    os.mkfifo(tmp_path / "pipe")
    assert scan([str(tmp_path)], go).files == 0


def test_source_that_is_not_there_counts_nothing(tmp_path, go):
    assert scan([str(tmp_path / "nowhere")], go).files == 0
    assert scan([], go).files == 0


def test_name_that_is_no_text_is_counted(tmp_path, go):
    (tmp_path / os.fsdecode(b"\xff\xfe")).write_bytes(b"x")
    assert scan([str(tmp_path)], go).files == 1


def test_scan_that_is_told_to_stop_says_nothing(tmp_path, go):
    (tmp_path / "file").touch()
    go.set()
    assert scan([str(tmp_path)], go) is None


def test_file_that_vanishes_meanwhile_costs_only_itself(tmp_path, go, monkeypatch):
    for number in range(5):
        (tmp_path / f"file{number}").write_bytes(b"x")
    listed = os.scandir

    class Vanishing:
        """The entries of a directory, whose first file is removed once it has been listed."""

        def __init__(self, path):
            self.entries = list(listed(path))
            Path(self.entries[0].path).unlink()

        def __enter__(self):
            return iter(self.entries)

        def __exit__(self, *_):
            return None

    monkeypatch.setattr(os, "scandir", Vanishing)
    assert scan([str(tmp_path)], go).files == 4


def test_hard_link_is_counted_once(tmp_path, go):
    (tmp_path / "file").write_bytes(b"12345")
    (tmp_path / "link").hardlink_to(tmp_path / "file")
    assert scan([str(tmp_path)], go) == Totals(5, 1, SCAN)
