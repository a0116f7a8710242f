import asyncio
import collections
import concurrent.futures
import contextlib
import errno
import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from tests.fakes.supervised import (
    DEADLINE_S,
    ENVIRONMENT,
    borg_environment,
    borg_locks,
    eventually,
    python,
    specification,
)
from worker import supervision
from worker.run_directory import ExitReason, RunDirectory, RunState
from worker.supervision import AlreadyStartedError, cancel, end_orphan, ended, refuse, start

SECRET = b"correct horse battery staple"


def read(path):
    return Path(path).read_bytes()


def open_files(pid):
    found = []
    for descriptor in sorted(Path(f"/proc/{pid}/fd").iterdir(), key=lambda path: int(path.name)):
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            found.append(str(descriptor.readlink()))
    return found


@pytest.fixture
def run(tmp_path):
    runs = tmp_path / "runs"
    runs.mkdir()
    return RunDirectory.of(runs, 1, 1)


async def run_to_end(run, *argv, environment=ENVIRONMENT, secret=None, **fields):
    await asyncio.to_thread(start, run, specification(*argv, **fields), environment, secret)
    await asyncio.wait_for(ended(run), DEADLINE_S)
    return run.exit()


class TestBorg:
    @pytest.fixture
    def environment(self, tmp_path):
        return borg_environment(tmp_path)

    def borg(self, environment, *arguments, passphrase=SECRET):
        given = {**environment, "BORG_PASSPHRASE": passphrase.decode()}
        return subprocess.run(["borg", *arguments], env=given, check=True, capture_output=True, text=True).stdout

    @pytest.fixture
    def sources(self, tmp_path, environment):
        self.borg(environment, "init", "--encryption", "repokey")
        sources = tmp_path / "sources"
        sources.mkdir()
        (sources / "file").write_bytes(os.urandom(100_000))
        return sources

    CREATE = ("borg", "create", "--progress", "--log-json", "--json", "::first")

    async def test_backup_runs_with_a_secret_that_no_file_holds(self, run, environment, sources):
        result = await run_to_end(run, *self.CREATE, str(sources), environment=environment, secret=SECRET)

        assert (result.reason, result.code, result.lost_bytes) == (ExitReason.EXITED, 0, 0)
        assert json.loads(run.stdout.read_bytes())["archive"]["name"] == "first"
        assert json.loads(run.newest_progress())["type"].split("_")[-1] in {"progress", "message"}
        assert b"archive_progress" not in run.log.read_bytes()
        assert self.borg(environment, "list", "--short") == "first\n"
        assert not [path for path in run.path.iterdir() if SECRET in path.read_bytes()]

    async def test_wrong_secret_is_borgs_error_and_told_in_the_log(self, run, environment, sources):
        result = await run_to_end(run, *self.CREATE, str(sources), environment=environment, secret=b"wrong")
        assert (result.reason, result.code) == (ExitReason.EXITED, 2)
        assert b"passphrase" in run.log.read_bytes().lower()

    @pytest.mark.parametrize("interrupt_first", [True, False])
    async def test_cancelled_backup_leaves_no_lock_behind(self, run, environment, sources, interrupt_first):
        with (sources / "long").open("wb") as file:
            file.truncate(1 << 40)
        wanted = specification(*self.CREATE, str(sources), interrupt_first=interrupt_first, terminate_patience_s=10.0)
        await asyncio.to_thread(start, run, wanted, environment, SECRET)
        await eventually(lambda: b"sources/long" in (run.newest_progress() or b""))

        await asyncio.to_thread(cancel, run, "enough")
        await asyncio.wait_for(ended(run), DEADLINE_S)

        assert run.exit().reason is ExitReason.CANCELLED
        assert run.exit().code == 143
        assert self.borg(environment, "list", "--short") == ""
        assert borg_locks(sources.parent) == []


class TestWhatBorgInherits:
    async def test_environment_is_exactly_the_given_one(self, run):
        await run_to_end(run, "env", "-0")
        given = dict(pair.split("=", 1) for pair in run.stdout.read_text().split("\0") if pair)
        assert given == ENVIRONMENT

    async def test_secret_comes_by_a_pipe_and_is_the_only_addition(self, run):
        source = "import os; print(sorted(os.environ)); print(open(int(os.environ['BORG_PASSPHRASE_FD']), 'rb').read())"
        await run_to_end(run, *python(source), secret=SECRET)
        assert run.stdout.read_text() == f"{sorted([*ENVIRONMENT, 'BORG_PASSPHRASE_FD'])}\n{SECRET}\n"

    async def test_secret_is_not_to_be_found_in_the_supervisor(self, run):
        started = await asyncio.to_thread(start, run, specification("sleep", "30"), ENVIRONMENT, SECRET)
        supervisor, borg = started.supervisor_pid, started.borg_pid
        for file in ("environ", "cmdline"):
            assert SECRET not in read(f"/proc/{supervisor}/{file}") + read(f"/proc/{borg}/{file}")
        only_borgs = set(open_files(borg)) - set(open_files(supervisor))
        assert len([name for name in only_borgs if name.startswith("pipe:")]) == 1
        await asyncio.to_thread(cancel, run, "seen")
        await ended(run)

    async def test_secret_that_a_pipe_might_not_take_is_refused_before_anything_starts(self, run):
        with pytest.raises(ValueError, match="4096"):
            await asyncio.to_thread(start, run, specification("true"), ENVIRONMENT, b"x" * 5000)
        assert run.state() is RunState.NEVER_STARTED

    async def test_descriptors_are_the_streams_and_its_lock(self, run):
        started = await asyncio.to_thread(start, run, specification("sleep", "30"), ENVIRONMENT, None)
        stdin, stdout, stderr, *others = open_files(started.borg_pid)
        assert (stdin, stdout[:5], stderr[:5], others) == (os.devnull, "pipe:", "pipe:", [str(run.borg_lock)])
        await asyncio.to_thread(cancel, run, "seen")
        await ended(run)

    async def test_signals_are_as_a_program_expects_them(self, run):
        await run_to_end(run, "cat", "/proc/self/status")
        status = dict(line.split(":", 1) for line in run.stdout.read_text().splitlines())
        of_the_threads_library = 0b11 << 31  # signals 32 and 33, which glibc lets nobody set (nptl(7))
        masks = {int(status[mask], 16) & ~of_the_threads_library for mask in ("SigIgn", "SigBlk", "SigCgt")}
        assert masks == {0}

    async def test_borg_leads_a_group_of_its_own_in_the_supervisors_session(self, run):
        started = await asyncio.to_thread(start, run, specification("sleep", "30"), ENVIRONMENT, None)
        assert os.getpgid(started.borg_pid) == started.borg_pid
        assert os.getsid(started.borg_pid) == started.supervisor_pid
        await asyncio.to_thread(cancel, run, "seen")
        await ended(run)

    async def test_kernel_short_of_memory_prefers_borg_to_the_supervisor(self, run):
        await run_to_end(run, "cat", "/proc/self/oom_score_adj")
        assert int(run.stdout.read_text()) == min(1000, int(read("/proc/self/oom_score_adj")) + 300)

    async def test_working_directory_is_the_specified_one(self, run, tmp_path):
        await run_to_end(run, "pwd", working_directory=str(tmp_path))
        assert run.stdout.read_text() == f"{tmp_path}\n"

    async def test_argument_that_is_no_utf_8_arrives_byte_for_byte(self, run):
        await run_to_end(run, "printf", "%s", b"caf\xe9".decode("utf-8", "surrogateescape"), environment={"LANG": "C"})
        assert run.stdout.read_bytes() == b"caf\xe9"


class TestOutput:
    async def test_log_is_byte_for_byte_and_appended_to_what_stood_there(self, run):
        run.path.mkdir()
        run.log.write_bytes(b"$ borg create\n")
        source = "import sys; sys.stderr.buffer.write(b'y' * (1 << 20) + b'\\n\\xff\\xfe\\r50%\\r100%\\nno newline')"
        await run_to_end(run, *python(source))
        assert run.log.read_bytes() == b"$ borg create\n" + b"y" * (1 << 20) + b"\n\xff\xfe\r50%\r100%\nno newline"

    async def test_newest_progress_alone_is_kept_and_seen_while_borg_runs(self, run):
        source = (
            "import sys, time\n"
            'for n in range(1000): print(\'{"type": "progress_percent", "current": %d}\' % n, file=sys.stderr)\n'
            "sys.stderr.flush(); time.sleep(30)"
        )
        await asyncio.to_thread(start, run, specification(*python(source)), ENVIRONMENT, None)
        await eventually(lambda: b"999" in (run.newest_progress() or b""))
        await asyncio.to_thread(cancel, run, "seen")
        await ended(run)
        assert run.log.read_bytes() == b""

    async def test_full_disk_costs_bytes_which_are_counted_and_never_the_backup(self, run):
        run.path.mkdir()
        run.log.symlink_to("/dev/full")
        run.stdout.symlink_to("/dev/full")
        result = await run_to_end(run, "sh", "-c", "seq 100000 >&2; seq 10")
        assert (result.code, result.lost_bytes) == (0, 588_895 + 21)

    async def test_output_faster_than_the_disk_is_complete_when_the_end_is_told(self, run):
        result = await run_to_end(run, "sh", "-c", "seq 300000; seq 300000 >&2")
        assert result.lost_bytes == 0
        assert run.stdout.read_bytes() == run.log.read_bytes()
        assert run.stdout.read_bytes().endswith(b"\n300000\n")

    async def test_end_is_told_though_something_left_behind_holds_the_pipes(self, run):
        result = await run_to_end(run, "sh", "-c", "sleep 30 & echo done")
        assert (result.code, run.stdout.read_text(), run.state()) == (0, "done\n", RunState.ENDED)
        assert result.duration_s < 5
        assert run.borg_alive()
        await asyncio.wait_for(end_orphan(run), DEADLINE_S)
        await eventually(lambda: not run.borg_alive())


class TestStart:
    async def test_started_run_is_running_and_then_ended(self, run):
        started = await asyncio.to_thread(start, run, specification("sh", "-c", "read x; exit 7"), ENVIRONMENT, None)
        await ended(run)
        result = run.exit()
        assert run.supervisor()["pid"] == started.supervisor_pid
        assert (run.state(), result.reason, result.code) == (RunState.ENDED, ExitReason.EXITED, 7)
        assert result.begun_at <= result.ended_at <= time.time()
        assert 0 <= result.duration_s < 5
        assert result.cpu_s >= 0
        assert result.rss_kb > 0

    async def test_running_run_is_followed(self, run):
        await asyncio.to_thread(start, run, specification("sleep", "30"), ENVIRONMENT, None)
        assert (run.state(), run.borg_alive()) == (RunState.RUNNING, True)
        assert not refuse(run)
        await asyncio.to_thread(cancel, run, "seen")
        await ended(run)
        assert (run.state(), run.borg_alive()) == (RunState.ENDED, False)
        assert not refuse(run)

    async def test_signal_that_killed_borg_is_its_negative_code(self, run):
        assert (await run_to_end(run, "sh", "-c", "kill -SEGV $$")).code == -signal.SIGSEGV

    @pytest.mark.parametrize(
        ("argv", "fields", "number"),
        [
            (("no-such-program",), {}, errno.ENOENT),
            (("/etc",), {}, errno.EACCES),
            (("true",), {"working_directory": "/no/such/directory"}, errno.ENOENT),
        ],
    )
    async def test_program_that_cannot_be_executed_is_named_by_its_errno(self, run, argv, fields, number):
        started = await asyncio.to_thread(start, run, specification(*argv, **fields), ENVIRONMENT, None)
        await ended(run)
        assert started.borg_pid is None
        assert (started.failure.reason, started.failure.errno) == (ExitReason.SPAWN_FAILED, number)
        assert run.exit() == started.failure

    @pytest.mark.parametrize("fields", [{"start_before_s": 0.0}, {"version": 2}])
    async def test_late_or_foreign_supervisor_runs_nothing(self, run, tmp_path, fields):
        wanted = specification("touch", str(tmp_path / "ran"), **fields)
        started = await asyncio.to_thread(start, run, wanted, ENVIRONMENT, None)
        await ended(run)
        assert (started.borg_pid, started.failure.reason) == (None, ExitReason.NOT_STARTED)
        assert (run.state(), refuse(run)) == (RunState.ENDED, True)
        assert not (tmp_path / "ran").exists()

    async def test_run_is_started_once_in_its_life(self, run):
        await run_to_end(run, "true")
        with pytest.raises(AlreadyStartedError):
            await asyncio.to_thread(start, run, specification("true"), ENVIRONMENT, None)

    async def test_of_many_starters_exactly_one_starts(self, run, tmp_path):
        ran = tmp_path / "ran"
        wanted = specification("sh", "-c", f"echo once >>{ran}")
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            tries = [pool.submit(start, run, wanted, ENVIRONMENT, None) for _ in range(8)]
            errors = [tried.exception() for tried in tries]
        await ended(run)
        assert collections.Counter(map(type, errors)) == {type(None): 1, AlreadyStartedError: 7}
        assert ran.read_text() == "once\n"

    async def test_reader_that_asks_without_pause_never_refuses_a_starter(self, tmp_path, monkeypatch):
        monkeypatch.setattr(supervision, "LOCK_PATIENCE_S", 0.0)
        runs = [RunDirectory.of(tmp_path, job_id, 1) for job_id in range(20)]
        stop, questions = threading.Event(), []

        def ask():
            while not stop.is_set():
                questions.extend(run.state() for run in runs)

        asker = threading.Thread(target=ask)
        asker.start()
        try:
            for run in runs:
                await run_to_end(run, "true")
        finally:
            stop.set()
            asker.join()
        assert len(questions) > 1000
        assert set(questions) <= {RunState.NEVER_STARTED, RunState.STARTING, RunState.RUNNING, RunState.ENDED}

    async def test_starter_waits_for_whoever_holds_the_lock_for_an_instant(self, run):
        run.path.mkdir()
        with supervision._locked(run):
            waiting = asyncio.create_task(run_to_end(run, "true"))
            await eventually(lambda: open_files("self").count(str(run.lock)) == 2)
        assert (await waiting).code == 0

    async def test_starter_gives_up_where_the_lock_stays_held(self, run, monkeypatch):
        monkeypatch.setattr(supervision, "LOCK_PATIENCE_S", 0.05)
        run.path.mkdir()
        with supervision._locked(run), pytest.raises(AlreadyStartedError):
            await asyncio.to_thread(start, run, specification("true"), ENVIRONMENT, None)

    def test_missing_home_of_all_runs_is_an_error_not_made_anew(self, tmp_path):
        run = RunDirectory.of(tmp_path / "not mounted", 1, 1)
        with pytest.raises(FileNotFoundError):
            start(run, specification("true"), ENVIRONMENT, None)
        with pytest.raises(FileNotFoundError):
            refuse(run)


class TestRefuse:
    async def test_worker_that_comes_late_starts_nothing(self, run):
        assert run.state() is RunState.NEVER_STARTED
        assert refuse(run)
        assert refuse(run)
        assert (run.state(), run.exit().reason) == (RunState.ENDED, ExitReason.NOT_STARTED)
        with pytest.raises(AlreadyStartedError):
            await asyncio.to_thread(start, run, specification("true"), ENVIRONMENT, None)

    async def test_of_a_starter_and_a_refuser_exactly_one_wins(self, tmp_path):
        wins = []
        for job_id in range(20):
            run = RunDirectory.of(tmp_path, job_id, 1)
            refused, started = await asyncio.gather(
                asyncio.to_thread(refuse, run),
                asyncio.to_thread(start, run, specification("true"), ENVIRONMENT, None),
                return_exceptions=True,
            )
            await ended(run)
            assert refused is isinstance(started, AlreadyStartedError)
            assert run.exit().reason is (ExitReason.NOT_STARTED if refused else ExitReason.EXITED)
            wins.append(refused)
        assert len(wins) == 20


class TestEnd:
    async def start_and_wait(self, run, wanted, sign):
        await asyncio.to_thread(start, run, wanted, ENVIRONMENT, None)
        await eventually(lambda: sign in run.stdout.read_text())

    @pytest.mark.parametrize(
        ("trap", "code"),
        [("trap 'exit 2' INT", 2), ("trap '' INT", -signal.SIGTERM), ("trap '' INT TERM", -signal.SIGKILL)],
    )
    async def test_escalation_stops_where_borg_ends(self, run, trap, code):
        wanted = specification("sh", "-c", f"{trap}; echo ready; while :; do sleep 0.1; done", interrupt_first=True)
        await self.start_and_wait(run, wanted, "ready")
        await asyncio.to_thread(cancel, run, "enough")
        await asyncio.wait_for(ended(run), DEADLINE_S)
        assert (run.exit().reason, run.exit().code) == (ExitReason.CANCELLED, code)

    async def test_run_cancelled_before_it_began_never_begins(self, run, tmp_path):
        await asyncio.to_thread(cancel, run, "changed my mind")
        started = await asyncio.to_thread(start, run, specification("touch", str(tmp_path / "ran")), ENVIRONMENT, None)
        await ended(run)
        assert started.borg_pid is None
        assert (run.exit().reason, run.exit().code, run.cancel_reason()) == (
            ExitReason.CANCELLED,
            None,
            "changed my mind",
        )
        assert not (tmp_path / "ran").exists()

    async def test_cancel_of_an_ended_run_changes_nothing(self, run):
        result = await run_to_end(run, "true")
        await asyncio.to_thread(cancel, run, "too late")
        assert run.exit() == result

    async def test_time_limit_ends_the_run(self, run):
        result = await run_to_end(run, "sleep", "30", timeout_s=0.2)
        assert (result.reason, result.code) == (ExitReason.TIMEOUT, -signal.SIGTERM)
        assert result.duration_s < 5

    async def test_host_going_down_is_no_cancel(self, run):
        started = await asyncio.to_thread(start, run, specification("sleep", "30"), ENVIRONMENT, None)
        os.kill(started.supervisor_pid, signal.SIGTERM)
        await asyncio.wait_for(ended(run), DEADLINE_S)
        assert (run.exit().reason, run.exit().code) == (ExitReason.EXITED, -signal.SIGTERM)

    async def test_hangup_ends_nothing(self, run):
        started = await asyncio.to_thread(start, run, specification("sh", "-c", "sleep 0.3"), ENVIRONMENT, None)
        os.kill(started.supervisor_pid, signal.SIGHUP)
        await asyncio.wait_for(ended(run), DEADLINE_S)
        assert run.exit().code == 0


class TestEnded:
    async def test_own_supervisor_is_reaped_however_late_one_asks(self, run):
        started = await asyncio.to_thread(start, run, specification("true"), ENVIRONMENT, None)
        await eventually(lambda: not run.supervised())
        await ended(run)
        with pytest.raises(ChildProcessError):
            await asyncio.to_thread(os.waitpid, started.supervisor_pid, os.WNOHANG)

    async def test_several_may_wait_and_a_waiter_may_give_up(self, run):
        await asyncio.to_thread(start, run, specification("sleep", "30"), ENVIRONMENT, None)
        waiters = [asyncio.create_task(ended(run)) for _ in range(3)]
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ended(run), 0.1)
        await asyncio.to_thread(cancel, run, "enough")
        await asyncio.wait_for(asyncio.gather(*waiters), DEADLINE_S)

    async def test_run_that_never_was_has_ended(self, run):
        await asyncio.wait_for(ended(run), 1.0)

    async def test_recycled_pid_is_neither_signalled_nor_waited_for(self, run):
        await run_to_end(run, "true")
        with await asyncio.to_thread(subprocess.Popen, ["sleep", "30"]) as stranger:
            recorded = {**run.supervisor(), "pid": stranger.pid}
            run.started_file.write_text(json.dumps(recorded))
            await asyncio.to_thread(cancel, run, "whom?")
            await asyncio.wait_for(ended(run), 1.0)
            assert stranger.poll() is None
            stranger.kill()


class TestDirectories:
    def test_all_runs_are_found_and_nothing_else(self, tmp_path):
        for name in ("3-1", "3-2", "12-1", "notes", "3-", "lost+found"):
            (tmp_path / name).mkdir()
        found = {(run.job_id, run.attempt) for run in RunDirectory.all_in(tmp_path)}
        assert found == {(3, 1), (3, 2), (12, 1)}

    async def test_directory_is_for_its_owner_alone_and_can_be_removed(self, run):
        await run_to_end(run, "true")
        assert run.path.stat().st_mode & 0o777 == 0o700
        run.remove()
        assert (run.path.exists(), run.state()) == (False, RunState.NEVER_STARTED)
