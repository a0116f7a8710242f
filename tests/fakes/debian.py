"""A Debian of its own for a test: the real apt and dpkg, in a mount namespace where their state, sources and the
directory that the packages write to are the test's.
"""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROGRAM, SUDOERS = ROOT / "deploy" / "install-package", ROOT / "deploy" / "sudoers"
LIBRARY = "usr/local/lib"
INSTALLED = f"/{LIBRARY}/locutus/install-package"
"""Where deploy/sudoers expects the program."""
TARGET = "opt"
"""Where the packages' files go, below `/`."""
_PLACES = ("etc/apt", "var/lib/dpkg", "var/lib/apt", "var/cache/apt", "var/log", "opt")
_DIRECTORIES = (
    "etc/apt/apt.conf.d", "etc/apt/preferences.d", "var/lib/dpkg/info", "var/lib/dpkg/updates",
    "var/lib/apt/lists/partial", "var/cache/apt/archives/partial", "var/log/apt",
)  # fmt: skip

can_be_made = os.geteuid() == 0 and all(map(shutil.which, ("unshare", "dpkg-deb", "apt-get")))


@dataclass(frozen=True)
class Debian:
    """Its root's changed places, its package sources, and the programs that see them."""

    root: Path
    pool: Path
    install_package: Path

    def version(self, package: str) -> str:
        """The version that dpkg has there, with its status; empty for a package that it does not know."""
        query = [
            "dpkg-query",
            f"--admindir={self.root}/var/lib/dpkg",
            "-W",
            "-f",
            "${Version} ${db:Status-Status}",
            package,
        ]
        return subprocess.run(query, check=False, capture_output=True, text=True).stdout

    def offer(self, name: str, version: str, *, scripts: Mapping[str, str] | None = None, **fields: str) -> None:
        """Put a package into the source."""
        tree = self.pool / f"{name}-{version}"
        control = tree / "DEBIAN"
        control.mkdir(parents=True)
        (tree / TARGET).mkdir()
        (tree / TARGET / name).write_text(version)
        for script, text in (scripts or {}).items():
            (control / script).write_text(f"#!/bin/sh\n{text}\n")
            (control / script).chmod(0o755)
        said = {"Package": name, "Version": version, "Architecture": "all", "Maintainer": "T <t@example.org>"}
        lines = [f"{key.replace('_', '-')}: {value}" for key, value in (said | fields).items()]
        (control / "control").write_text("\n".join([*lines, "Description: of a test", ""]))
        file = self.pool / f"{name}_{version}_all.deb"
        subprocess.run(["dpkg-deb", "--build", "--root-owner-group", tree, file], check=True, stdout=subprocess.DEVNULL)
        content = file.read_bytes()
        lines += [f"Filename: ./{file.name}", f"Size: {len(content)}", f"SHA256: {hashlib.sha256(content).hexdigest()}"]
        with (self.pool / "Packages").open("a") as index:
            index.write("\n".join([*lines, "Description: of a test", "", ""]))

    def withdraw(self) -> None:
        """Take everything out of the source again."""
        (self.pool / "Packages").write_text("")

    def prefer(self, package: str, version: str) -> None:
        """Have apt think that this version is the right one, whatever is installed."""
        pin = f"Package: {package}\nPin: version {version}\nPin-Priority: 1001\n"
        (self.root / "etc/apt/preferences.d" / package).write_text(pin)

    def run_as_nobody(self, *argv: str) -> "subprocess.Popen[str]":
        """Run a program by sudo as a worker that is not root does, where `nobody` has what deploy/sudoers gives."""
        library, sudoers = self.root / LIBRARY / "locutus", self.root / "etc/sudoers.d"
        for directory in (library, sudoers):
            directory.mkdir(parents=True)
        for program in (PROGRAM, ROOT / "worker" / "as_root.py"):
            shutil.copy(program, library)
        (sudoers / "locutus").write_text(SUDOERS.read_text().replace("\nlocutus ALL", "\nnobody ALL"))
        nobody = "setpriv --reuid=nobody --regid=nogroup --clear-groups"
        worker = f'{nobody} /usr/bin/python3 -I -S /{LIBRARY}/locutus/as_root.py sudo -n -- "$@"'
        program = self.program("as-nobody", worker, (LIBRARY, "etc/sudoers.d"))
        return subprocess.Popen([program, *argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def program(self, name: str, command: str, more_places: Sequence[str] = ()) -> Path:
        """A program that runs a line of shell there, with its arguments."""
        path = self.root.parent / name
        mounts = [f"mount --bind '{self.root}/{place}' /{place}" for place in (*_PLACES, *more_places)]
        enter = '[ -n "$INSIDE" ] || INSIDE=1 exec unshare -m "$0" "$@"'
        path.write_text("\n".join(["#!/bin/sh", "set -e", enter, *mounts, f"exec {command}", ""]))
        path.chmod(0o755)
        return path


def debian_in(directory: Path) -> Debian:
    """A Debian without packages."""
    root, pool = directory / "root", directory / "pool"
    for place in (*_PLACES, *_DIRECTORIES):
        (root / place).mkdir(parents=True, exist_ok=True)
    pool.mkdir()
    (pool / "Packages").touch()
    for file in ("status", "available"):
        (root / "var/lib/dpkg" / file).touch()
    (root / "etc/apt/sources.list").write_text(f"deb [trusted=yes] file:{pool} ./\n")
    (root / "etc/apt/apt.conf").write_text('APT::Sandbox::User "root";\n')
    debian = Debian(root, pool, directory / "install-package")
    debian.program("install-package", f'{PROGRAM} "$@"')
    return debian
