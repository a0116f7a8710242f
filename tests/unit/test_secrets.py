"""Secrets: read back by their key alone, and an error never holds one."""

import base64
import stat
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.public import PrivateKey

from jobs.secrets import HostKey, SecretBox, SecretUnreadableError, seal, write_private

OLD, NEW = "o" * 40, "n" * 40
SECRET = "correct horse battery staple"
texts = st.text(st.characters(exclude_categories=["Cs"]))


@pytest.fixture
def key():
    return HostKey(PrivateKey.generate())


def damaged(ciphertext):
    """Each of several ways in which a stored text may be broken."""
    head, _, body = ciphertext.rpartition(":")
    raw = bytearray(base64.urlsafe_b64decode(body + "==") if "encrypted" in head else base64.b64decode(body))
    raw[len(raw) // 2] ^= 1
    encode = base64.urlsafe_b64encode if "encrypted" in head else base64.b64encode
    return [
        f"{head}:{encode(raw).decode()}",
        f"{head}:{body[: len(body) // 2]}",
        f"{head}:",
        f"{head}:ä!",
        ciphertext[:5],
    ]


@given(texts)
def test_passphrase_is_read_back_by_its_host(text):
    key = HostKey(PrivateKey.generate())
    assert key.unseal(seal(text, key.public)) == text.encode()


def test_sealed_text_names_its_kind_and_key_and_differs_each_time(key):
    one, other = seal(SECRET, key.public), seal(SECRET, key.public)
    assert one.startswith(f"sealed.v1:{key.id}:")
    assert one != other
    assert SECRET not in one


def test_other_host_can_not_read_it_and_is_told_why(key):
    other = HostKey(PrivateKey.generate())
    with pytest.raises(SecretUnreadableError, match=f"{key.id}.*{other.id}.*Give it again"):
        other.unseal(seal(SECRET, key.public))


def test_other_host_that_claims_the_key_can_not_read_it_either(key):
    other = HostKey(PrivateKey.generate())
    sealed = seal(SECRET, key.public).replace(key.id, other.id)
    with pytest.raises(SecretUnreadableError, match="damaged"):
        other.unseal(sealed)


def test_damaged_passphrase_is_said_to_be_that(key):
    for broken in damaged(seal(SECRET, key.public)):
        with pytest.raises(SecretUnreadableError, match="Give it again"):
            key.unseal(broken)


@given(texts)
def test_secret_comes_back(text):
    assert SecretBox(OLD).decrypt(SecretBox(OLD).encrypt(text)) == text


def test_damaged_secret_is_said_to_be_that():
    box = SecretBox(OLD)
    for broken in damaged(box.encrypt(SECRET)):
        with pytest.raises(SecretUnreadableError) as unreadable:
            box.decrypt(broken)
        assert SECRET not in str(unreadable.value)


def test_key_rotates_without_losing_a_secret():
    old = SecretBox(OLD).encrypt(SECRET)
    rotated = SecretBox(f"{NEW}, {OLD}")
    assert rotated.decrypt(old) == SECRET
    assert SecretBox(NEW).decrypt(rotated.encrypt(SECRET)) == SECRET
    with pytest.raises(SecretUnreadableError, match="Add that key to LOCUTUS_SECRET_KEY"):
        SecretBox(NEW).decrypt(old)


def test_sealed_is_not_encrypted(key):
    with pytest.raises(SecretUnreadableError):
        SecretBox(OLD).decrypt(seal(SECRET, key.public))
    with pytest.raises(SecretUnreadableError):
        key.unseal(SecretBox(OLD).encrypt(SECRET))


@given(st.text())
def test_any_other_text_is_unreadable(text):
    with pytest.raises(SecretUnreadableError):
        SecretBox(OLD).decrypt(text)
    with pytest.raises(SecretUnreadableError):
        HostKey(PrivateKey(b"k" * 32)).unseal(text)


def test_host_key_is_made_once_and_private(tmp_path):
    path = tmp_path / "host.key"
    first = HostKey.load(path)
    assert HostKey.load(path).public == first.public
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_of_writers_at_once_one_wins_and_all_read_its_file(tmp_path):
    path, start, failures = tmp_path / "secret", threading.Barrier(16), []

    def write(number):
        start.wait()
        try:
            write_private(path, b"%02d" % number * 1000)
        except OSError as error:
            failures.append(error)

    writers = [threading.Thread(target=write, args=(number,)) for number in range(16)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    content = path.read_bytes()
    assert failures == []
    assert content == content[:2] * 1000
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_file_that_is_there_is_kept(tmp_path):
    path = tmp_path / "secret"
    write_private(path, b"first")
    write_private(path, b"second")
    assert path.read_bytes() == b"first"
