"""What a restore asks of borg, and what it makes of what borg says."""

import os
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from jobs.access import Role
from jobs.borg.events import LogMessage, PercentProgress
from jobs.borg.inventory import Inventory, totals_of
from jobs.job_type import Destination, KnownArchive, Policy, Run, Target, is_within
from jobs.types.restore import MOST_BYTES_OF_PATHS, Restore, RestoreParameters
from jobs.view import Progress
from worker import destination
from worker.destination import UnusableDestinationError

RESTORE = Restore()
TARGET = Target("photos", "/srv/repo", host="nas", archive=KnownArchive("photos-1", 1204, 31_000))
SAID = {"archive_id": "photos-1", "destination": "/out", "paths": [], "overwrite": False, "dry_run": False}


def run(**said):
    return Run(7, TARGET, {**SAID, **said}, "photos-1")


@pytest.mark.parametrize("path", ["-lead", "re:a.*", "sh:**", "[x]*", "new\nline", "pp:x", "/a/b", "+ x", "!x"])
def test_path_is_a_path_for_borg_whatever_it_looks_like(path):
    arguments = RESTORE.arguments(run(paths=[path]))
    separator = arguments.index("--")
    assert arguments[separator + 1 :] == ("/srv/repo::photos-1", f"pp:{path.lstrip('/')}")
    assert RESTORE.inventory(run(paths=[path]))[-2:] == arguments[-2:]


def test_dry_run_writes_nowhere():
    assert "--dry-run" in RESTORE.arguments(run(dry_run=True))
    assert RESTORE.working_directory(run(dry_run=True)) == "/"
    assert RESTORE.working_directory(run()) == "/out"
    assert not RESTORE.destroys({**SAID, "overwrite": True, "dry_run": True})
    assert RESTORE.destroys({**SAID, "overwrite": True})


@pytest.mark.parametrize(
    ("given_", "normal"), [("/a/../b/", "/b"), ("//srv//x", "/srv/x"), ("/", "/"), ("/a/./b", "/a/b")]
)
def test_destination_is_kept_as_what_it_means(given_, normal):
    assert RestoreParameters(archive_id="a", destination=given_).destination == normal


def test_paths_fit_into_one_command():
    long = ["x" * 4000] * (MOST_BYTES_OF_PATHS // 4000 + 1)
    with pytest.raises(ValidationError, match="at most"):
        RestoreParameters(archive_id="a", destination="/out", paths=long)


@pytest.mark.parametrize(
    ("path", "role"),
    [("/restore", "operate"), ("/restore/x", "operate"), ("/restored", "administer"), ("/", "administer")],
)
def test_operate_is_enough_below_a_restore_root(path, role):
    policy = Policy(restore_roots=("/restore/", "/srv/back"))
    assert RESTORE.role_for({**SAID, "destination": path}, policy) is Role.named(role)
    assert RESTORE.role_for({**SAID, "destination": path}, Policy(("/",))) is Role.OPERATE


def test_plan_names_files_size_host_destination_and_owner():
    said = " ".join(RESTORE.plan({**SAID, "overwrite": True}, TARGET))
    for fact in ("1,204 files", "31,000 bytes", "photos-1", "/out on nas", "replaced", "owner"):
        assert fact in said
    assert "1 path of the archive" in RESTORE.plan({**SAID, "paths": ["x"]}, TARGET)[0]


def test_lines_count_items_and_percent_events_count_bytes():
    progress = Progress()
    for name in ("a", "a/b"):
        progress = RESTORE.read_line(LogMessage("INFO", name, None, "borg.output.list"), progress)
    progress = RESTORE.read_line(LogMessage("WARNING", "a/b: odd", None, "borg.archiver"), progress)
    event = PercentProgress(1, "extract", None, 5, 10, finished=False, info=())
    progress = RESTORE.read_progress(event, progress)
    assert (progress.items, progress.current_file, progress.original_size) == (2, "a/b", 5)
    summing = PercentProgress(1, "extract", "Calculating", 0, 0, finished=False, info=())
    assert RESTORE.read_progress(summing, progress) == progress


KINDS = st.sampled_from(["-rw-r--r--", "drwx------", "lrwxrwxrwx", "hrw-r--r--", "prw-------"])


@given(st.lists(st.tuples(KINDS, st.integers(0, 10**12)), max_size=60), st.lists(st.integers(0, 70)))
def test_files_are_told_from_the_rest_at_any_point(tmp_path_factory, items, points):
    path = tmp_path_factory.getbasetemp() / "inventory"
    path.write_text("".join(f"{mode} {size}\n" for mode, size in items))
    inventory = Inventory(path)
    files = [size for mode, size in items if mode.startswith("-")]
    assert (inventory.totals.files, inventory.totals.size) == (len(files), sum(files))
    for point in sorted(points):
        assert inventory.files_among(point) == sum(mode.startswith("-") for mode, _ in items[:point])


def test_line_that_is_none_is_a_value_error():
    with pytest.raises(ValueError, match="invalid literal"):
        totals_of([b"-rw-r--r-- many\n"])


@pytest.mark.parametrize(("path", "within"), [("/a", True), ("/a/b", True), ("/ab", False), ("/", False)])
def test_directory_is_within_itself_and_not_within_its_namesake(path, within):
    assert is_within(path, "/a") is is_within(path, "/a/") is within


class TestDestination:
    def test_what_is_missing_is_made_and_what_is_empty_is_taken(self, tmp_path):
        place = Destination(str(tmp_path / "a" / "b"))
        destination.require_allowed(place, [], [])
        destination.make(place, 1)
        destination.require_allowed(place, [], [])
        assert (tmp_path / "a" / "b").is_dir()

    def test_disk_that_is_too_small_is_told_with_both_sizes(self, tmp_path):
        too_much = shutil.disk_usage(tmp_path).free * 2
        with pytest.raises(UnusableDestinationError, match=r"take .*B, and the disk .*free") as refused:
            destination.make(Destination(str(tmp_path / "a")), too_much)
        assert refused.value.code == "destination_full"
        assert not (tmp_path / "a").exists()
        destination.make(Destination(str(tmp_path / "a"), overwrite=True), too_much)

    @pytest.mark.parametrize("name", ["repo", "repo/data", "link", "link/data"])
    def test_repository_is_never_written_into_by_whatever_way(self, tmp_path, name):
        (tmp_path / "repo").mkdir()
        (tmp_path / "link").symlink_to(tmp_path / "repo")
        with pytest.raises(UnusableDestinationError, match=r"is inside .*repo"):
            destination.require_allowed(Destination(str(tmp_path / name), overwrite=True), [str(tmp_path / "repo")], [])

    def test_file_is_no_destination_and_nothing_is_made_below_one(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(UnusableDestinationError, match="not a directory"):
            destination.require_allowed(Destination(str(tmp_path / "file"), overwrite=True), [], [])
        with pytest.raises(UnusableDestinationError, match="can't be made"):
            destination.make(Destination(str(tmp_path / "file" / "x")), 0)

    def test_name_that_is_no_text_is_told_all_the_same(self, tmp_path):
        (tmp_path / os.fsdecode(b"\xff")).symlink_to("/")
        with pytest.raises(UnusableDestinationError, match="leads out of the restore root"):
            destination.require_allowed(Destination(str(tmp_path), overwrite=True), [], [str(tmp_path)])
