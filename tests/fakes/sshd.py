"""A real sshd on a free loopback port, with keys of its own, for logins as the user that the tests run as."""

import getpass
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.conftest import free_port, wait_until

SSHD = "/usr/sbin/sshd"
is_there = Path(SSHD).exists()


@dataclass
class Sshd:
    """The server's directory and port, and the process while it runs."""

    directory: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def location(self, path: Path) -> str:
        """Where borg finds a repository of this machine behind the server."""
        return f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}{path}"

    def let_in(self, line: str) -> None:
        """Add a line to `authorized_keys`."""
        with (self.directory / "authorized_keys").open("a") as file:
            file.write(f"{line}\n")

    def make_host_key(self) -> str:
        """A new host key in place of the old one; its fingerprint."""
        file = self.directory / "host_key"
        for old in (file, Path(f"{file}.pub")):
            old.unlink(missing_ok=True)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file], check=True)
        shown = subprocess.run(["ssh-keygen", "-lf", file], check=True, capture_output=True, text=True)
        return shown.stdout.split()[1]

    def start(self) -> None:
        """Listen."""
        argv = [SSHD, "-D", "-e", "-f", self.directory / "sshd_config"]
        log = (self.directory / "log").open("ab")
        with log:
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_until((self.directory / "pid").exists)

    def stop(self) -> None:
        """End the server, and break the connections that it has."""
        if self.process is not None:
            self.break_connections()
            self.process.terminate()
            self.process.wait()
            self.process = None
            (self.directory / "pid").unlink(missing_ok=True)

    def break_connections(self) -> int:
        """Kill every process that serves a connection, which breaks it; how many there were."""
        children = self._below(self.process.pid) if self.process else []
        for pid in children:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return len(children)

    def _below(self, pid: int) -> list[int]:
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if int((process / "stat").read_text().rpartition(")")[2].split()[1]) == pid:
                    child = int(process.name)
                    found += [*self._below(child), child]
        return found


@contextmanager
def sshd_in(directory: Path) -> Iterator[Sshd]:
    """A running server."""
    directory.mkdir()
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # sshd has its unprivileged part live there
    server = Sshd(directory)
    server.make_host_key()
    (directory / "authorized_keys").touch(mode=0o600)
    lines = (
        f"Port {server.port}", "ListenAddress 127.0.0.1", f"HostKey {directory}/host_key", f"PidFile {directory}/pid",
        f"AuthorizedKeysFile {directory}/authorized_keys", "StrictModes no", "UsePAM no", "PermitRootLogin yes",
        "PasswordAuthentication no", "KbdInteractiveAuthentication no",
    )  # fmt: skip
    (directory / "sshd_config").write_text("\n".join(lines) + "\n")
    server.start()
    try:
        yield server
    finally:
        server.stop()
