"""How borg reaches a server: nothing is asked, nothing unknown is accepted, and no path becomes more than a path."""

import itertools
import shlex
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.ssh import HostKeyOffer, authorized_keys_line, known_hosts_line, offers, remote_shell, ssh_place

KEY = "AAAAC3NzaC1lZDI1NTE5AAAAIN0NDA+TQldF/lkr6nW91nZ0GNHJ1z44TT8AypHw/CKG"
SCAN = f"# nas:22 SSH-2.0-OpenSSH_9.2p1\nnas ssh-rsa AAAA\n[nas]:2222 ssh-ed25519 {KEY}\nnas broken\nnas ssh-dss %%%%\n"


@pytest.mark.parametrize(
    ("location", "server", "user", "path"),
    [
        ("ssh://backup@NAS.example.org:2222/srv/photos", ("nas.example.org", 2222), "backup", "/srv/photos"),
        ("ssh://nas/./photos", ("nas", 22), None, "/./photos"),
        ("ssh://[::1]:23/~/photos", ("[::1]", 23), None, "/~/photos"),
    ],
)
def test_place_is_read_from_a_location(location, server, user, path):
    place = ssh_place(location)
    assert place is not None
    assert (place.server, place.user, place.path) == (server, user, path)


@pytest.mark.parametrize(
    "location", ["/srv/photos", "ssh://-oProxyCommand=x/p", "ssh://a:b@nas/p", "ssh://nas", "user@nas:p"]
)
def test_everything_else_is_no_place_behind_ssh(location):
    assert ssh_place(location) is None


def test_offers_are_the_whole_lines_of_a_scan_and_ed25519_comes_first():
    assert [(offer.type, offer.key) for offer in offers(SCAN)] == [("ssh-ed25519", KEY), ("ssh-rsa", "AAAA")]


def test_fingerprint_is_the_one_that_ssh_keygen_shows(tmp_path):
    file = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file], check=True)
    kind, key, *_ = (tmp_path / "key.pub").read_text().split()
    shown = subprocess.run(["ssh-keygen", "-lf", file], check=True, capture_output=True, text=True).stdout.split()[1]
    assert HostKeyOffer(kind, key).fingerprint == shown
    assert offers(known_hosts_line(7, HostKeyOffer(kind, key))) == (HostKeyOffer(kind, key),)


@given(st.text(min_size=1), st.text(min_size=1))
def test_files_are_one_word_each_whatever_their_names(key_file, known_hosts):
    words = shlex.split(remote_shell(3, key_file, known_hosts))
    assert words[:3] == ["ssh", "-i", key_file]
    options = [word for before, word in itertools.pairwise(words) if before == "-o"]
    assert f'UserKnownHostsFile="{known_hosts}"' in options
    assert {"StrictHostKeyChecking=yes", "BatchMode=yes", "IdentitiesOnly=yes", "HostKeyAlias=locutus-3"} <= {*options}


def test_known_hosts_may_lie_in_a_directory_with_a_space_in_its_name(tmp_path):
    known_hosts = tmp_path / "my data" / "known_hosts"
    shell = shlex.split(remote_shell(3, "key", str(known_hosts)))
    understood = subprocess.run([*shell, "-G", "nas"], check=True, capture_output=True, text=True).stdout.splitlines()
    assert f"userknownhostsfile {known_hosts}" in understood


@pytest.mark.parametrize(
    ("location", "command"),
    [
        ("ssh://nas/srv/photos", "borg serve --restrict-to-repository /srv/photos"),
        ("ssh://nas/srv/my photos", "borg serve --restrict-to-repository '/srv/my photos'"),
        ("ssh://nas/./photos", "borg serve --restrict-to-repository photos"),
        ("ssh://nas/~/photos", "borg serve --restrict-to-repository photos"),
        ('ssh://nas/a"b', "borg serve --restrict-to-repository '/a\\\"b'"),
    ],
)
def test_line_for_the_server_lets_the_key_serve_this_repository_and_nothing_else(location, command):
    place = ssh_place(location)
    assert place is not None
    assert authorized_keys_line(place, "ssh-ed25519 AAAA us\n") == f'command="{command}",restrict ssh-ed25519 AAAA us'
