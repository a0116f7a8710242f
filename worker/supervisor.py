"""The small process between a worker and its borg: it outlives the worker and leaves a lasting record of borg's end.

    python -I -S supervisor.py RUN_DIRECTORY LOCK_FD READY_FD NAME=VALUE … -- ARGV …

The worker made the directory, locked `lock` and reserved the blocks of `exit`; the names are those of its specification
that `order` reads, and ARGV is borg's command. Environment and stdin
are borg's; stdout is the file `stdout`; stderr is `log`, which thus also tells a defect of this program. A secret waits
in an inherited pipe, whose number stands in BORG_PASSPHRASE_FD: it passes through unread. While this process lives
`lock` is held, while borg lives `borg.lock` is. READY_FD gets borg's pid, or merely its end: then see `exit`.

Only the standard library, and all of it at once: an upgrade under a long run must find nothing left to import. And of
it only what is built in or small: `json`, `contextlib` and the public `signal` alone would double the time to borg.
"""

import _signal as signal  # type: ignore[import-not-found]
import ctypes
import fcntl
import os
import resource
import select
import struct
import sys
import time
import zlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

VERSION = 1  # of spec.json and exit
SECRET_VARIABLE = "BORG_PASSPHRASE_FD"  # noqa: S105 - a name; its value is the number of a descriptor
WHOLE_FILE = struct.pack("hhqqi0q", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)  # fcntl_locking(2): a struct flock
PIPE_SIZE = 1 << 20
LINE_LIMIT = 1 << 16
GATHER_S = 0.02
PROGRESS_EVERY_S = 1.0
OOM_SCORE_RAISE = 300
PR_SET_PDEATHSIG = 1  # prctl(2)
PROGRESS_EVENTS = (b'"type": "archive_progress"', b'"type": "progress_percent"', b'"type": "progress_message"')
prctl = ctypes.CDLL(None).prctl


class ErrorsIgnored:
    """What may fail without harm: only `OSError` is passed over."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: "type[BaseException] | None", *_: object) -> bool:
        return kind is not None and issubclass(kind, OSError)


errors_ignored = ErrorsIgnored()


class ExecError(OSError):
    """borg's program could not be executed."""


def main() -> None:
    directory, lock, ready = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    wake = wake_on_signals()
    for inherited in (lock, ready):
        os.set_inheritable(inherited, False)
    os.chdir(directory)
    exit_file = os.open("exit", os.O_WRONLY)
    write_exit(exit_file, run(order(sys.argv[4:]), wake, ready))


def order(arguments: list[str]) -> "dict[str, Any]":
    """What to run and how, from the command line: numbers, a working directory, and borg's argv."""
    end = arguments.index("--")
    given = dict(argument.split("=", 1) for argument in arguments[:end])
    directory = given.pop("working_directory")
    numbers = {name: float(value) for name, value in given.items()}
    return {**numbers, "working_directory": directory, "argv": arguments[end + 1 :]}


def run(specification: "Mapping[str, Any]", wake: int, ready: int) -> "dict[str, Any]":
    """Run borg to its end, unless it was called off or it is too late, and return the exit record."""
    try:
        replace("started", json_object(identity(os.getpid())).encode(), durable=True)
        if os.path.exists("cancel"):  # looked for after `started` is there: who cancels later has a pid to signal
            return exit_record("cancelled")
        late = time.clock_gettime(time.CLOCK_BOOTTIME) > specification["start_before_s"]
        if late or specification["version"] != VERSION:
            return exit_record("not_started")
        spawned = spawn(specification)
    except OSError as error:
        return exit_record("spawn_failed" if isinstance(error, ExecError) else "not_started", errno=error.errno)
    borg = Borg(specification, *spawned)
    with errors_ignored:  # the worker may have died: another will find this run by its lock
        os.write(ready, str(borg.pid).encode())
    os.close(ready)
    output, log = Output(1), Log(2)
    follow(borg, output, log, wake)
    output.finish()
    log.finish()
    return borg.reap(output.lost_bytes + log.lost_bytes)


class Borg:
    """A running borg: its pipes, its alarm clock, and how it is stopped."""

    def __init__(self, specification: "Mapping[str, Any]", pid: int, out: int, err: int) -> None:
        self.pid, self.out, self.err = pid, out, err
        self.pidfd = os.pidfd_open(pid)
        self.begun_at, self.begun = time.time(), time.monotonic()
        self.reason, self.stopping = "exited", False
        self.alarm = self.begun + specification["timeout_s"]
        self.steps = stop_steps(specification)

    def stop(self, reason: str) -> None:
        """Begin to end borg; the first reason stands."""
        if not self.stopping:
            self.reason, self.stopping, self.alarm = reason, True, 0.0

    def heed_alarm(self) -> None:
        """Take the next step once the time limit, or the patience of the last step, has run out."""
        if (now := time.monotonic()) < self.alarm:
            return
        self.stop("timeout")
        number, patience_s = self.steps[0]
        self.steps = self.steps[1:] or self.steps
        self.alarm = now + patience_s
        with errors_ignored:  # a program that has become another user can't be signalled
            (os.killpg if number == signal.SIGKILL else os.kill)(self.pid, number)

    def reap(self, lost_bytes: int) -> "dict[str, Any]":
        _, status = os.waitpid(self.pid, 0)
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return exit_record(
            self.reason,
            code=os.waitstatus_to_exitcode(status),
            begun_at=self.begun_at,
            duration_s=time.monotonic() - self.begun,
            cpu_s=usage.ru_utime + usage.ru_stime,
            rss_kb=usage.ru_maxrss,
            lost_bytes=lost_bytes,
        )


def stop_steps(specification: "Mapping[str, Any]") -> list[tuple[int, float]]:
    """How borg is ended, as (signal, seconds until the next step); the last step is repeated.

    Only create heeds SIGINT (a checkpoint, after the file at hand). SIGINT and SIGTERM are for borg alone: the ssh
    beside it must live until the checkpoint is there and the lock given back. SIGKILL is for the whole group.
    """
    patience_s = specification["terminate_patience_s"]
    steps: list[tuple[int, float]] = [(signal.SIGTERM, patience_s), (signal.SIGKILL, patience_s)]
    if specification["interrupt_first"]:
        steps.insert(0, (signal.SIGINT, specification["interrupt_patience_s"]))
    return steps


def spawn(specification: "Mapping[str, Any]") -> tuple[int, int, int]:
    """Start borg: its pid and the read ends of its stdout and stderr. Raises OSError, ExecError; borg has not run."""
    lock = os.open("borg.lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.fcntl(lock, fcntl.F_OFD_SETLK, WHOLE_FILE)
    (out, out_end), (err, err_end), (failure, failure_end) = os.pipe(), os.pipe(), os.pipe()
    secrets = [int(os.environ[SECRET_VARIABLE])] if SECRET_VARIABLE in os.environ else []
    supervisor = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            os.set_inheritable(lock, True)
            become_borg(specification, out_end, err_end, supervisor)
        except OSError as error:
            os.write(failure_end, str(error.errno).encode())
        finally:
            os._exit(127)
    for given in (lock, out_end, err_end, failure_end, *secrets):
        os.close(given)
    if code := os.read(failure, 16):  # exec closes the other end
        os.waitpid(pid, 0)
        raise ExecError(int(code), os.strerror(int(code)))
    return pid, out, err


def become_borg(specification: "Mapping[str, Any]", out: int, err: int, supervisor: int) -> None:
    """In the child: take the group, signals and streams that borg wants, then exec. Raises OSError.

    Not posix_spawn: only the child itself can ask for a SIGTERM at the supervisor's death; and exec's error is exact.
    """
    os.setpgid(0, 0)
    prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != supervisor:  # it died before that was asked for
        os._exit(127)
    with errors_ignored, open("/proc/self/oom_score_adj", "rb+", buffering=0) as oom_score:
        oom_score.write(str(min(1000, int(oom_score.read()) + OOM_SCORE_RAISE)).encode())
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:  # what is ignored here, or was before us
        with errors_ignored:
            signal.signal(number, signal.SIG_DFL)
    os.chdir(specification["working_directory"])
    os.dup2(out, 1)
    os.dup2(err, 2)
    argv = [argument.encode("utf-8", "surrogateescape") for argument in specification["argv"]]
    os.execvp(argv[0], argv)  # noqa: S606 - an argv list, no shell


def follow(borg: Borg, output: "Output", log: "Log", wake: int) -> None:
    """Pass on what borg writes until it ends: not until end of file, for what borg leaves behind may hold the pipes."""
    sinks = {borg.out: output.write, borg.err: log.feed}
    for pipe in sinks:
        os.set_blocking(pipe, False)
        with errors_ignored:  # an unprivileged user has only so many pages for pipes
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
    while True:
        wait_s = max(0.0, min(borg.alarm, log.alarm) - time.monotonic())
        ready, _, _ = select.select([borg.pidfd, wake, *sinks], [], [], wait_s)
        for pipe in sinks.keys() & ready:
            if not drain(pipe, sinks[pipe]):
                del sinks[pipe]
        if borg.pidfd in ready:
            break
        if wake in ready:  # with nobody asking for it, a SIGTERM is the host going down: that is no cancel
            asked = signal.SIGINT in os.read(wake, PIPE_SIZE) or os.path.exists("cancel")
            borg.stop("cancelled" if asked else "exited")
        borg.heed_alarm()
        log.publish_progress()
        select.select([borg.pidfd], [], [], GATHER_S)  # let lines gather: one wake-up each costs more than the lines
    for pipe, sink in sinks.items():
        drain(pipe, sink)


def drain(pipe: int, sink: "Callable[[bytes], None]") -> bool:
    """Pass on all that the pipe holds now; False at end of file."""
    try:
        chunk = os.read(pipe, PIPE_SIZE)
    except BlockingIOError:
        return True
    sink(chunk)
    return bool(chunk)


class Output:
    """A file that takes what it can: a full disk costs bytes, which are counted, and never stops borg."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor, self.lost_bytes = descriptor, 0

    def write(self, data: bytes) -> None:
        written = 0
        with errors_ignored:
            written = os.write(self.descriptor, data)
        self.lost_bytes += len(data) - written

    def finish(self) -> None:
        """Make it last: an exit must not outlive the output that explains it."""
        with errors_ignored:
            os.fsync(self.descriptor)


class Log(Output):
    """borg's stderr, byte for byte, but for its progress events: of those, the newest alone stands in `progress`."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor)
        self.rest, self.inside_line = b"", False
        self.progress, self.published = b"", -PROGRESS_EVERY_S

    @property
    def alarm(self) -> float:
        return self.published + PROGRESS_EVERY_S if self.progress else float("inf")

    def feed(self, chunk: bytes) -> None:
        *lines, self.rest = (self.rest + chunk).split(b"\n")
        kept = []
        for line in lines:
            if not self.inside_line and line[:1] == b"{" and any(event in line for event in PROGRESS_EVENTS):
                self.progress = line
            else:
                kept.append(line + b"\n")
            self.inside_line = False
        if len(self.rest) > LINE_LIMIT:  # an endless line is passed on in pieces
            kept.append(self.rest)
            self.rest, self.inside_line = b"", True
        self.write(b"".join(kept))

    def publish_progress(self) -> None:
        if (now := time.monotonic()) >= self.alarm:
            with errors_ignored:
                replace("progress", self.progress)
            self.progress, self.published = b"", now

    def finish(self) -> None:
        self.write(self.rest)
        self.published = -PROGRESS_EVERY_S
        self.publish_progress()
        super().finish()


def wake_on_signals() -> int:
    """A descriptor that becomes readable when an end is asked for; the signals themselves do no more than that."""
    wake, waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    return wake


def identity(pid: int) -> "dict[str, Any]":
    """What tells a process from all others that ever have its pid (proc_pid_stat(5)). Raises OSError if there is none.

    It serves people and signals: the proof of life is the lock.
    """
    with open(f"/proc/{pid}/stat", "rb") as stat, open("/proc/sys/kernel/random/boot_id") as boot_id:
        start_ticks = int(stat.read().rpartition(b")")[2].split()[19])
        return {"pid": pid, "start_ticks": start_ticks, "boot_id": boot_id.read().strip()}


def replace(name: str, content: bytes, *, durable: bool = False) -> None:
    """Write a file of which a reader sees all or nothing. Raises OSError."""
    with open(name + ".new", "wb") as file:
        file.write(content)
        file.flush()
        if durable:
            os.fsync(file.fileno())
    os.rename(name + ".new", name)
    if durable:
        sync_directory(".")


def sync_directory(path: "str | os.PathLike[str]") -> None:
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def exit_record(reason: str, **known: "Any") -> "dict[str, Any]":
    unknown = dict.fromkeys(("code", "errno", "begun_at", "duration_s", "cpu_s", "rss_kb"))
    return {"reason": reason, **unknown, "ended_at": time.time(), "lost_bytes": 0, **known}


def json_object(values: "Mapping[str, Any]") -> str:
    """JSON (RFC 8259) of numbers, None, and plain words: all that is written here."""
    return "{" + ", ".join(f'"{name}": {json_value(value)}' for name, value in values.items()) + "}"


def json_value(value: "Any") -> str:
    if value is None:
        return "null"
    return f'"{value}"' if isinstance(value, str) else repr(value)


def exit_line(record: "Mapping[str, Any]") -> bytes:
    """The content of `exit`: CRC-32 of what follows in hexadecimal, format version, JSON."""
    body = f"{VERSION} {json_object(record)}".encode()
    return b"%08x %s\n" % (zlib.crc32(body), body)


def write_exit(descriptor: int, record: "Mapping[str, Any]") -> None:
    """Write the record in place, into blocks that were reserved, and make it last. Raises OSError."""
    os.pwrite(descriptor, exit_line(record), 0)
    os.fsync(descriptor)


if __name__ == "__main__":
    main()
