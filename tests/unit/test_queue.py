"""What goes through Redis is JSON and nothing that runs when it is read."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.queue import deserialize, host_queue, serialize, wake_channel

VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.text(max_size=5), st.lists(st.text(max_size=5), max_size=3)
)


@given(st.dictionaries(st.text(max_size=5), VALUES, max_size=4))
def test_entry_comes_back_as_it_was(value):
    assert deserialize(serialize(value)) == value


@pytest.mark.parametrize("value", [{"x": object()}, {"x": b"bytes"}, {"x": {1, 2}}])
def test_what_json_can_not_say_is_refused_where_it_is_enqueued(value):
    with pytest.raises(TypeError):
        serialize(value)


@pytest.mark.parametrize("data", [pickle.dumps({"f": "x"}), b"", b"1", b"\xff"])
def test_what_is_no_entry_is_an_error(data):
    with pytest.raises((ValueError, TypeError)):
        deserialize(data)


def test_queues_of_two_hosts_differ_and_each_has_its_own_channel():
    names = {host_queue("a"), host_queue("b"), wake_channel(host_queue("a")), wake_channel(host_queue("b"))}
    assert len(names) == 4
