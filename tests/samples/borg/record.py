"""Records what a real borg says, case by case, as the samples beside this file.

    PYTHONPATH=. .venv/bin/python tests/samples/borg/record.py /usr/bin/borg     (as root, for mounts and other users)

Each case is a directory `<version>/<case>/` with `argv.txt` (one argument a line), `stdout`, `stderr.jsonl` and
`status` (negative: ended by that signal). Paths become `/data/…`, the host's name becomes `host`. Of a case with more
than 55 progress lines the first 50 and the last 5 are kept, and `trimmed` says how many are not.
"""

import contextlib
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from jobs.borg.environment import environment

SAMPLES = Path(__file__).parent
PROGRESS = b'"type": "archive_progress"', b'"type": "progress_'
BACKUP = ("create", "--log-json", "--progress", "--json", "--lock-wait", "1")
UNPRIVILEGED = ("/usr/bin/setpriv", "--bounding-set=-dac_override,-dac_read_search")


@dataclass
class Recorder:
    """One borg, one directory that holds everything it touches."""

    borg: Path
    root: Path
    cases: Path
    passphrase: str | None = None
    extra: dict[str, str] = field(default_factory=dict)
    prefix: tuple[str, ...] = ()

    def path(self, name: str) -> str:
        return str(self.root / name)

    def environment(self) -> dict[str, str]:
        given = self.passphrase is not None
        return environment(os.environ, base_dir=self.path("base"), passphrase_given=given) | self.extra

    def start(self, *arguments: str, cwd: Path | None = None) -> subprocess.Popen[bytes]:
        variables, inherited = self.environment(), []
        if self.passphrase is not None:
            reader, writer = os.pipe()
            os.write(writer, self.passphrase.encode())
            os.close(writer)
            variables["BORG_PASSPHRASE_FD"], inherited = str(reader), [reader]
        process = subprocess.Popen(
            [*self.prefix, self.borg, *arguments],
            cwd=cwd or self.root,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=inherited,
            start_new_session=True,
        )
        for descriptor in inherited:
            os.close(descriptor)
        return process

    def run(self, *arguments: str) -> None:
        """Run a step that is only preparation."""
        _, errors = (process := self.start(*arguments)).communicate()
        if process.returncode:
            raise RuntimeError(errors.decode())

    def record(self, case: str, *arguments: str, end: signal.Signals | None = None, cwd: Path | None = None) -> None:
        """Run and keep what borg says; with `end`, signal its group once it has shown progress."""
        process = self.start(*arguments, cwd=cwd)
        seen = b""
        if end is not None:
            seen = b"".join(read_until_busy(process))
            os.killpg(process.pid, end)
        out, errors = process.communicate()
        self.keep(case, arguments, out, seen + errors, process.returncode)

    def keep(self, case: str, arguments: tuple[str, ...], out: bytes, errors: bytes, status: int) -> None:
        directory = self.cases / case
        directory.mkdir(parents=True)
        kept, dropped = trimmed(self.neutral(errors).splitlines(keepends=True))
        (directory / "argv.txt").write_bytes(self.neutral("\n".join(["borg", *arguments, ""]).encode()))
        (directory / "stdout").write_bytes(self.neutral(out))
        (directory / "stderr.jsonl").write_bytes(b"".join(kept))
        (directory / "status").write_text(f"{status}\n")
        if dropped:
            (directory / "trimmed").write_text(f"{dropped}\n")
        sys.stdout.write(f"{case}: {status}\n")

    def neutral(self, text: bytes) -> bytes:
        text = text.replace(str(uuid.getnode()).encode(), b"1")
        prefix = self.borg.resolve().parent.parent if self.borg.parent.name == "bin" else Path("/nowhere")
        text = text.replace(str(self.root).encode(), b"/data").replace(str(self.root)[1:].encode(), b"data")
        text = re.sub(rb"/[\w./-]+/getpass\.py", b"/usr/lib/python3.11/getpass.py", text)
        if prefix != Path("/usr"):
            text = text.replace(str(prefix).encode(), b"/opt/borg")
        return re.sub(rb"\b%s\b" % re.escape(socket.gethostname().encode()), b"host", text)


def read_until_busy(process: subprocess.Popen[bytes]) -> Iterator[bytes]:
    for line in process.stderr or ():
        yield line
        if b'"nfiles": ' in line and b'"nfiles": 0,' not in line:
            return


def trimmed(lines: list[bytes]) -> tuple[list[bytes], int]:
    """Drop all but the first 50 and the last 5 progress lines; the other lines stay."""
    progress = [number for number, line in enumerate(lines) if any(kind in line for kind in PROGRESS)]
    dropped = set(progress[50:-5])
    return [line for number, line in enumerate(lines) if number not in dropped], len(dropped)


@contextlib.contextmanager
def small_disk(path: Path, size: str) -> Iterator[None]:
    path.mkdir(parents=True, exist_ok=True)
    subprocess.run(["/bin/mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path], check=True)
    try:
        yield
    finally:
        subprocess.run(["/bin/umount", path], check=True)


def make_sources(root: Path) -> None:
    """Write `photos` (small), `film` (300 MB that do not compress, 60 files) and `clip` (20 MB)."""
    bytes_of = random.Random(7).randbytes
    for directory, files, size in (("photos", 20, 50_000), ("film", 60, 5_000_000), ("clip", 40, 500_000)):
        (root / directory).mkdir()
        for number in range(files):
            (root / directory / f"{number:04}.raw").write_bytes(bytes_of(size))
    (root / "photos" / "a\N{SNOWMAN}.txt").write_text("name beyond ASCII")
    (root / "photos" / os.fsdecode(b"latin-\xe9.txt")).write_text("name that is no UTF-8")


def repositories_and_backups(borg: Recorder) -> None:
    plain, photos = borg.path("plain"), borg.path("photos")
    borg.record("init", "init", "--log-json", "--encryption", "none", plain)
    borg.record("init_existing", "init", "--log-json", "--encryption", "none", plain)
    borg.record("init_parent_missing", "init", "--log-json", "--encryption", "none", borg.path("absent/plain"))
    borg.record("create_fresh", *BACKUP, "--", f"{plain}::one", photos)
    borg.record("info_newest", "info", "--log-json", "--json", f"{plain}::one")
    borg.record("create_unchanged", *BACKUP, "--list", "--", f"{plain}::two", photos)
    borg.record("create_show_rc", "--show-rc", *BACKUP, "--", f"{plain}::three", photos)
    borg.record("archive_exists", *BACKUP, "--", f"{plain}::one", photos)
    borg.record("archive_missing", "info", "--log-json", "--json", f"{plain}::absent")
    borg.record("source_missing_one", *BACKUP, "--", f"{plain}::four", photos, borg.path("absent"))
    borg.record("source_missing_all", *BACKUP, "--", f"{plain}::five", borg.path("absent"))
    borg.record("repository_missing", *BACKUP, "--", f"{borg.path('absent')}::one", photos)
    borg.record("repository_invalid", *BACKUP, "--", f"{photos}::one", photos)
    borg.record("usage", "create", "--log-json", "--no-such-option", f"{plain}::six", photos)
    borg.record("archive_name_invalid", *BACKUP, "--", f"{plain}::a/b", photos)
    borg.record("create_progress", *BACKUP, "-C", "zlib,9", "--", f"{plain}::film", borg.path("film"))


def reading_and_upkeep(borg: Recorder) -> None:
    plain, target = borg.path("plain"), borg.root / "restored"
    target.mkdir()
    restore = ("extract", "--log-json", "--progress", "--list", "--lock-wait", "1", "--")
    borg.record("info_archive", "info", "--log-json", "--json", f"{plain}::one")
    borg.record("list_archives", "list", "--log-json", "--json", plain)
    borg.record("extract", *restore, f"{plain}::film", cwd=target)
    borg.record("extract_path_missing", *restore, f"{plain}::one", "no/such/path", cwd=target)
    with small_disk(target, "8m"):
        borg.record("extract_disk_full", *restore, f"{plain}::film", cwd=target)
    borg.record("check", "check", "--log-json", "--progress", "--lock-wait", "1", plain)
    borg.record("check_data", "check", "--log-json", "--progress", "--verify-data", plain)
    borg.record("prune", "prune", "--log-json", "--list", "--stats", "--keep-last", "1", "-a", "t*", plain)
    borg.run("delete", f"{plain}::film")
    borg.record("compact", "compact", "--log-json", "--progress", "--lock-wait", "1", plain)
    borg.record("option_refused", "check", "--log-json", "--max-duration", "1", plain)


def passphrases(borg: Recorder) -> None:
    sealed, photos = borg.path("sealed"), borg.path("photos")
    borg.record("init_passphrase_missing", "init", "--log-json", "--encryption", "repokey", sealed)
    shutil.rmtree(sealed, ignore_errors=True)
    borg.passphrase = "the right one"
    borg.record("init_encrypted", "init", "--log-json", "--encryption", "repokey-blake2", sealed)
    borg.record("create_encrypted", *BACKUP, "--", f"{sealed}::one", photos)
    borg.passphrase = "a wrong one"
    borg.record("passphrase_wrong", *BACKUP, "--", f"{sealed}::two", photos)
    borg.passphrase = None
    borg.record("passphrase_missing", *BACKUP, "--", f"{sealed}::two", photos)
    # A plain repository in the place of an encrypted one, on a host that has seen neither: then on one that has.
    borg.passphrase = "the right one"
    shutil.move(borg.path("base"), borg.path("base-kept"))
    borg.record("unencrypted_unexpected", *BACKUP, "--", f"{borg.path('plain')}::never", photos)
    shutil.rmtree(borg.path("base"))
    shutil.move(borg.path("base-kept"), borg.path("base"))
    borg.passphrase = None


def locks_and_signals(borg: Recorder) -> None:
    plain, film = borg.path("plain"), borg.path("film")
    holder = borg.start("with-lock", plain, "sleep", "600")
    while not (borg.root / "plain" / "lock.exclusive").exists():
        os.sched_yield()
    borg.record("repository_locked", *BACKUP, "--", f"{plain}::locked", borg.path("photos"))
    os.killpg(holder.pid, signal.SIGTERM)
    holder.communicate()
    for end in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL):
        borg.record(f"create_{end.name.lower()}", *BACKUP, "-C", "zlib,6", "--", f"{plain}::{end.name}", film, end=end)
    borg.record("create_after_kill", *BACKUP, "--", f"{plain}::after", borg.path("photos"))


def full_disks(borg: Recorder) -> None:
    clip, disk = borg.path("clip"), borg.root / "disk"
    for case, size in (("disk_full", "12m"), ("disk_full_tiny", "200k")):
        with small_disk(disk, size):
            borg.run("init", "--encryption", "none", str(disk / "repository"))
            borg.record(case, *BACKUP, "--", f"{disk}/repository::one", clip)
    with small_disk(disk, "40m"):
        borg.run("init", "--encryption", "none", str(disk / "repository"))
        borg.run("config", str(disk / "repository"), "additional_free_space", "2G")
        borg.record("free_space_reserved", *BACKUP, "--", f"{disk}/repository::one", clip)
        borg.run("config", str(disk / "repository"), "additional_free_space", "0")
        borg.run("config", str(disk / "repository"), "storage_quota", "10M")
        borg.record("quota_exceeded", *BACKUP, "--", f"{disk}/repository::one", clip)
    base = borg.root / "base"
    shutil.rmtree(base)
    with small_disk(base, "24k"):
        borg.extra = {"BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes"}
        borg.record("cache_disk_full", *BACKUP, "--", f"{borg.path('plain')}::cache", clip)
    borg.extra = {}


def permissions(borg: Recorder) -> None:
    """As somebody whom modes bind; root's capabilities are dropped for that."""
    photos, plain = borg.root / "photos", borg.path("plain")
    (photos / "0000.raw").chmod(0)
    borg.prefix = UNPRIVILEGED
    borg.record("source_unreadable", *BACKUP, "--", f"{plain}::unreadable", str(photos))
    borg.record("warnings_mixed", *BACKUP, "--", f"{plain}::mixed", str(photos), borg.path("absent"))
    for case, mode in (("repository_unwritable", 0o500), ("repository_forbidden", 0)):
        Path(plain).chmod(mode)
        borg.record(case, *BACKUP, "--", f"{plain}::one", borg.path("clip"))
    Path(plain).chmod(0o700)
    borg.root.chmod(0o500)
    borg.record("init_forbidden", "init", "--log-json", "--encryption", "none", borg.path("new"))
    borg.root.chmod(0o700)
    borg.prefix = ()
    (photos / "0000.raw").chmod(0o644)


def remotes(borg: Recorder) -> None:
    photos, shell = borg.path("photos"), borg.root / "rsh"
    remote = (*BACKUP, "--remote-path", str(borg.borg))
    scripts = {
        "": 'shift; exec "$@"',
        "connection_refused": "echo 'ssh: connect to host backup port 22: Connection refused' >&2; sleep 0.3; exit 255",
        "connection_forbidden": "echo 'borg@backup: Permission denied (publickey).' >&2; sleep 0.3; exit 255",
        "connection_unknown_host": "echo 'Host key verification failed.' >&2; sleep 0.3; exit 255",
        "connection_no_borg": "echo 'bash: line 1: borg: command not found' >&2; sleep 0.3; exit 127",
        "connection_dropped": 'shift; exec timeout --foreground -s KILL 1.2 "$@"',
    }
    borg.extra = {"BORG_RSH": str(shell)}
    for case, script in scripts.items():
        shell.write_text(f"#!/bin/sh\n{script}\n")
        shell.chmod(0o755)
        if case:
            borg.record(case, *remote, "--", f"ssh://backup{borg.path('plain')}::{case}", borg.path("film"))
    shell.write_text(f"#!/bin/sh\n{scripts['']}\n")
    borg.record("remote_create", *remote, "--", f"ssh://backup{borg.path('plain')}::remote", photos)
    borg.record("remote_missing", *remote, "--", f"ssh://backup{borg.path('absent')}::one", photos)
    with small_disk(borg.root / "disk", "12m"):
        at = f"ssh://backup{borg.path('disk/repository')}"
        borg.run("init", "--remote-path", str(borg.borg), "--encryption", "none", at)
        borg.record("remote_disk_full", *remote, "--", f"{at}::one", borg.path("clip"))
    borg.extra = {}


def damage(borg: Recorder) -> None:
    """Last, for it breaks the repository: overwrite some bytes in the middle of each large segment."""
    plain = borg.root / "plain"
    borg.run("list", str(plain))
    for segment in (plain / "data").rglob("*"):
        if (size := segment.stat().st_size) > 500_000:
            with segment.open("r+b") as data:
                data.seek(size // 2)
                data.write(b"damaged" * 10)
    borg.record("extract_damaged", "extract", "--log-json", "--progress", "--", f"{plain}::three", cwd=borg.root)
    borg.record("check_data_damaged", "check", "--log-json", "--progress", "--verify-data", str(plain))
    borg.record("check_damaged", "check", "--log-json", "--progress", str(plain))


def main() -> None:
    borg = Path(sys.argv[1])
    version = subprocess.run([borg, "--version"], check=True, capture_output=True, text=True).stdout.split()[1]
    cases = SAMPLES / version
    shutil.rmtree(cases, ignore_errors=True)
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        make_sources(root)
        recorder = Recorder(borg, root, cases)
        for part in (repositories_and_backups, reading_and_upkeep, passphrases, locks_and_signals):
            part(recorder)
        for part in (full_disks, permissions, remotes, damage):
            part(recorder)


if __name__ == "__main__":
    main()
