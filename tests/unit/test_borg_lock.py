"""Who holds a lock, by the names of its files."""

import json
import socket
import uuid

import pytest

from jobs.borg.lock import lock_holders
from worker.lock_holders import Life, _life

HERE = f"{socket.gethostname()}@{uuid.getnode()}"
DEAD_PID = 2**22 + 1


@pytest.mark.parametrize(
    ("name", "told", "life"),
    [
        (f"{HERE}.{DEAD_PID}-0", (socket.gethostname(), uuid.getnode(), DEAD_PID), Life.DEAD),
        (f"nas@1234.{DEAD_PID}-0", ("nas", 1234, DEAD_PID), Life.UNKNOWN),
        (f"nas-of-ours.{DEAD_PID}-0", ("nas-of-ours", None, DEAD_PID), Life.UNKNOWN),
        ("whatever this is", ("whatever this is", None, 0), Life.UNKNOWN),
    ],
)
def test_holder_is_dead_only_where_that_is_proven(tmp_path, name, told, life):
    (tmp_path / "lock.exclusive").mkdir()
    (tmp_path / "lock.exclusive" / name).touch()
    (holder,) = lock_holders(tmp_path)
    assert (holder.host, holder.node, holder.pid) == told
    assert _life(holder) is life


def test_holders_in_the_roster_are_told_whatever_they_call_themselves(tmp_path):
    roster = {"shared": [["nas-of-ours", DEAD_PID, 0]], "exclusive": [["nas@12", 7, 0]]}
    (tmp_path / "lock.roster").write_text(json.dumps(roster))
    assert {holder.host for holder in lock_holders(tmp_path)} == {"nas-of-ours", "nas"}


def test_repository_without_a_lock_is_held_by_nobody(tmp_path):
    assert lock_holders(tmp_path) == ()
