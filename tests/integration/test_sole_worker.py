"""Turns on a data directory: one worker has it while it lives and beats; who was paused finds that it has lost it."""

import asyncio

import pytest

from tests.fakes.instance import until
from worker import sole_worker
from worker.sole_worker import LOOKS_WITHOUT_BEAT, Turn, as_sole_worker


@pytest.fixture
def turns(tmp_path):
    """Makes workers that stand at the same lock file, and closes them."""
    made = []

    def make():
        made.append(Turn(tmp_path / "worker.lock"))
        return made[-1]

    yield make
    for turn in made:
        turn.close()


def takes_over(turn):
    """The number of looks until it is its turn."""
    return next(number for number in range(1, 2 * LOOKS_WITHOUT_BEAT) if turn.look())


def test_first_has_the_turn_and_a_second_waits_while_it_beats(turns):
    first, second = turns(), turns()
    assert first.look()
    for _ in range(2 * LOOKS_WITHOUT_BEAT):
        assert first.beat()
        assert not second.look()


def test_turn_of_a_dead_worker_is_free_at_once(turns):
    first, second = turns(), turns()
    assert first.look()
    assert not second.look()
    first.close()
    assert second.look()


def test_turn_of_a_paused_worker_is_taken_over_and_it_finds_that_out(turns):
    paused, standby = turns(), turns()
    assert paused.look()
    assert takes_over(standby) == LOOKS_WITHOUT_BEAT + 1
    assert not paused.beat()
    assert standby.beat()


def test_who_took_over_gets_the_lock_once_it_is_free(turns):
    paused, owner, third = turns(), turns(), turns()
    paused.look()
    takes_over(owner)
    paused.let_go()
    assert not third.look()
    assert not paused.look()
    assert owner.beat()
    owner.close()
    assert third.look()


def test_who_took_over_without_the_lock_and_then_is_silent_is_taken_over_too(turns):
    paused, owner, third = turns(), turns(), turns()
    paused.look()
    takes_over(owner)
    assert takes_over(third) == LOOKS_WITHOUT_BEAT + 1
    assert not owner.beat()


def test_worker_of_a_release_without_beats_keeps_its_turn_while_it_has_the_lock(turns, tmp_path):
    old, new = turns(), turns()
    old.look()
    (tmp_path / "worker.lock").write_bytes(b"")
    assert not any(new.look() for _ in range(2 * LOOKS_WITHOUT_BEAT))
    old.let_go()
    assert new.look()


def test_name_that_was_wiped_is_written_again(turns, tmp_path):
    owner, standby = turns(), turns()
    owner.look()
    (tmp_path / "worker.lock").write_bytes(b"")
    assert owner.beat()
    assert not standby.look()
    owner.close()
    assert standby.look()


def test_closed_turn_touches_nothing(turns):
    turn = turns()
    turn.look()
    turn._open = False
    assert not turn.look()
    assert not turn.beat()
    turn._open = True


async def test_work_is_cancelled_where_another_takes_over_and_begins_anew_with_the_next_turn(
    tmp_path, turns, monkeypatch
):
    monkeypatch.setattr(sole_worker, "BEAT_S", 0.01)
    monkeypatch.setattr(sole_worker, "LOOK_AGAIN_S", 0.01)
    begun, ended, finish = [], [], asyncio.Event()

    async def work():
        begun.append(1)
        try:
            await finish.wait()
        finally:
            ended.append(1)

    working = asyncio.create_task(as_sole_worker(tmp_path, work, asyncio.Event()))
    await until(lambda: begun == [1])
    other = turns()
    other._write()
    await until(lambda: ended == [1])
    assert begun == [1]
    await until(lambda: begun == [1, 1])  # the other is silent
    finish.set()
    await working
    assert ended == [1, 1]


async def test_who_stands_by_leaves_when_told(tmp_path, turns):
    owner, leaving = turns(), asyncio.Event()
    owner.look()
    leaving.set()

    async def never():
        raise AssertionError

    await as_sole_worker(tmp_path, never, leaving)
