"""A disk that is full, out of inodes, over quota, write-protected or read-only: before a run starts, and under it.

Whatever happens to the run's directory, borg goes on; and what was never started is known not to have been.
"""

import asyncio
import contextlib
import errno
import os
import resource
import subprocess

import pytest

from tests.fakes.supervised import (
    AFTER_HANDSHAKE,
    Supervised,
    SupervisedBorg,
    begin,
    end,
    eventually,
    python,
    specification,
)
from worker.run_directory import ExitReason, RunDirectory, RunState
from worker.supervision import cancel, refuse

BLOCK = 4096
SEQUENCE_BYTES = 588_895  # of `seq 100000`
CHATTY = ("sh", "-c", "seq 100000 >&2; exit 3")
UNTIL_TOLD = ("sh", "-c", "until [ -e go ]; do sleep 0.02; done; seq 100000 >&2; touch done; exit 3")


AS_ROOT = () if os.geteuid() == 0 else ("sudo", "-n")


def by_root(*argv):
    return subprocess.run([*AS_ROOT, *argv], check=False, capture_output=True, text=True)


def done_by_root(*argv):
    done = by_root(*argv)
    assert done.returncode == 0, f"{argv[0]} needs root, or a user with `sudo -n`: {done.stderr}"


def fill(directory):
    """Take every block that is left."""
    with (directory / "filler").open("wb", buffering=0) as filler, contextlib.suppress(OSError):
        while filler.write(bytes(BLOCK)):
            pass
    assert os.statvfs(directory).f_bfree == 0


def take_all_inodes(directory, but=0):
    """Take every inode that is left, and give a few back."""
    taken = []
    with contextlib.suppress(OSError):
        while True:
            (path := directory / f"inode {len(taken)}").touch()
            taken.append(path)
    for path in taken[:but]:
        path.unlink()
    assert os.statvfs(directory).f_ffree == but


@pytest.fixture
def small(tmp_path):
    """A disk of 16 blocks."""
    (mounted := tmp_path / "small").mkdir()
    done_by_root("mount", "-t", "tmpfs", "-o", f"size={16 * BLOCK},nr_inodes=100", "tmpfs", mounted)
    yield mounted
    done_by_root("umount", mounted)


@pytest.fixture
def ext4(tmp_path):
    """A disk of its own with a real file system."""
    (image := tmp_path / "image").touch()
    os.truncate(image, 8 << 20)
    done_by_root("mkfs.ext4", "-q", "-E", f"root_owner={os.geteuid()}:{os.getegid()}", image)
    (mounted := tmp_path / "ext4").mkdir()
    done_by_root("mount", "-o", "loop,errors=remount-ro", image, mounted)
    yield mounted
    done_by_root("umount", mounted)


class TestBeforeTheStart:
    @pytest.fixture
    def run(self, small):
        return RunDirectory.of(small, 1, 1)

    async def test_full_disk_starts_nothing_and_with_room_again_the_run_can_be_refused(self, run, small):
        fill(small)
        with pytest.raises(OSError, match="No space left"):
            await begin(run, specification("touch", str(small / "ran")))
        assert run.state() is RunState.NEVER_STARTED
        with pytest.raises(OSError, match="No space left"):
            refuse(run)
        (small / "filler").unlink()
        assert refuse(run)
        assert (run.state(), (small / "ran").exists()) == (RunState.ENDED, False)

    @pytest.mark.parametrize("blocks", range(6))
    async def test_however_little_room_is_left_a_run_is_known_not_to_have_begun_or_its_end_is(self, run, small, blocks):
        fill(small)
        os.truncate(small / "filler", (small / "filler").stat().st_size - blocks * BLOCK)
        await self.starts_not_or_ends(run)
        assert (run.exit() is not None) is (blocks >= 2)

    @pytest.mark.parametrize("inodes", range(10))
    async def test_however_few_inodes_are_left_a_run_is_known_not_to_have_begun_or_its_end_is(self, run, small, inodes):
        take_all_inodes(small, but=inodes)
        await self.starts_not_or_ends(run)

    async def starts_not_or_ends(self, run):
        [outcome] = await asyncio.gather(begin(run, specification(*CHATTY)), return_exceptions=True)
        if isinstance(outcome, OSError):
            assert (outcome.errno, run.state()) == (errno.ENOSPC, RunState.NEVER_STARTED)
            return
        found = await end(run)
        if found.reason is ExitReason.NOT_STARTED:
            assert (found.errno, refuse(run)) == (errno.ENOSPC, True)
        else:
            assert (found.reason, found.code) == (ExitReason.EXITED, 3)
            assert found.lost_bytes == SEQUENCE_BYTES - run.log.stat().st_size


class TestQuota(Supervised):
    async def test_run_over_quota_starts_nothing(self, run):
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (BLOCK - 1, limits[1]))
        try:
            with pytest.raises(OSError, match="File too large"):
                await begin(run, specification("true"))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert run.state() is RunState.NEVER_STARTED
        assert refuse(run)

    async def test_quota_costs_bytes_which_are_counted_and_never_the_backup(self, run, put_in):
        put_in(f"resource.setrlimit(resource.RLIMIT_FSIZE, ({2 * BLOCK}, {2 * BLOCK}))", AFTER_HANDSHAKE)
        await begin(run, specification(*CHATTY))
        found = await end(run)
        assert (found.reason, found.code) == (ExitReason.EXITED, 3)
        assert (run.log.stat().st_size, found.lost_bytes) == (2 * BLOCK, SEQUENCE_BYTES - 2 * BLOCK)


class TestUnderTheRun(SupervisedBorg):
    @pytest.fixture
    def run(self, small):
        return RunDirectory.of(small, 1, 1)

    async def test_exit_is_recorded_on_a_disk_without_a_free_block(self, run, small):
        await begin(run, specification(*CHATTY))
        found = await end(run)
        assert os.statvfs(small).f_bfree == 0
        assert (found.reason, found.code) == (ExitReason.EXITED, 3)
        assert found.lost_bytes == SEQUENCE_BYTES - run.log.stat().st_size

    async def test_real_backup_with_a_long_list_is_complete(self, run, small, environment, archives, tmp_path):
        for number in range(1000):
            (tmp_path / "sources" / f"a file with a long name, to fill the disk of the log {number}").touch()
        wanted = specification("borg", "create", "--list", "--log-json", "--json", "::third", str(tmp_path / "sources"))
        await begin(run, wanted, environment)
        found = await end(run)
        assert os.statvfs(small).f_bfree == 0
        assert (found.reason, found.code, found.lost_bytes > 0) == (ExitReason.EXITED, 0, True)
        assert archives() == ["one", "two", "third"]

    async def test_without_an_inode_for_progress_borg_goes_on_and_can_be_cancelled(self, run, small):
        source = (
            "import sys, time\n"
            "while True:\n"
            '    print(\'{"type": "progress_percent"}\', "line", sep="\\n", file=sys.stderr, flush=True)\n'
            "    time.sleep(0.05)"
        )
        await begin(run, specification(*python(source)))
        await eventually(run.newest_progress)
        run.progress.unlink()
        take_all_inodes(small)
        written = run.log.stat().st_size
        await eventually(lambda: run.log.stat().st_size > written)
        await asyncio.to_thread(cancel, run, "enough")
        found = await end(run)
        assert (found.reason, found.lost_bytes) == (ExitReason.CANCELLED, 0)
        assert not run.cancel_file.exists()
        assert not run.progress.exists()

    async def test_cancel_without_an_inode_and_without_a_supervisor_is_an_error(self, run, small):
        run.path.mkdir()
        take_all_inodes(small)
        with pytest.raises(OSError, match="No space left"):
            await asyncio.to_thread(cancel, run, "too early")


class TestProtectedUnderTheRun:
    @pytest.fixture
    def run(self, ext4):
        return RunDirectory.of(ext4, 1, 1)

    @pytest.fixture
    def protect(self, run):
        """Make the run's files, and its directory, unwritable even for root; or writable again."""
        return lambda how: done_by_root("chattr", how, run.log, run.stdout, run.path)

    @pytest.fixture
    def remount(self, ext4):
        return lambda how: by_root("mount", "-o", f"remount,{how}", ext4)

    @pytest.fixture
    async def going_on(self, run, tmp_path):
        """Let the run, which has begun, say much and end."""
        await begin(run, specification(*UNTIL_TOLD, working_directory=str(tmp_path)))
        return (tmp_path / "go").touch

    async def test_files_that_can_not_be_written_cost_bytes_which_are_counted(self, run, going_on, protect):
        protect("+i")
        going_on()
        found = await end(run)
        protect("-i")
        assert (found.reason, found.code, found.lost_bytes) == (ExitReason.EXITED, 3, SEQUENCE_BYTES)
        assert run.log.read_bytes() == b""

    async def test_disk_can_not_be_made_read_only_under_a_run(self, run, remount, going_on):
        refused = remount("ro")
        assert (refused.returncode, "busy" in refused.stderr) == (32, True)
        going_on()
        assert (await end(run)).code == 3

    async def test_disk_that_turns_read_only_by_an_error_costs_the_exit_and_never_borgs_work(
        self, run, remount, going_on, tmp_path
    ):
        assert remount("abort").returncode == 0
        going_on()
        await end(run)
        assert (run.state(), run.exit()) == (RunState.VANISHED, None)
        assert (tmp_path / "done").exists()
