"""Two kinds of secrets, each ciphertext carrying its kind and the id of its key.

A repository's passphrase is *sealed* to the public key that its host published, so that nobody but that host reads it
back. Everything else (subscription secrets, chat URLs) is *encrypted* under keys derived from `LOCUTUS_SECRET_KEY`,
whose list rotates: the first key encrypts, all decrypt.
"""

import base64
import hashlib
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, PublicKey, SealedBox

SEALED = "sealed.v1"
ENCRYPTED = "encrypted.v1"
HKDF_INFO = b"locutus secret storage v1"
KEY_ID_LENGTH = 16


class SecretUnreadableError(Exception):
    """A stored secret can't be read with the keys at hand; the sentence says which key is missing and what to do."""


def fingerprint(public_key: bytes) -> str:
    """The id of a key: the first 16 hex digits of its SHA-256."""
    return hashlib.sha256(public_key).hexdigest()[:KEY_ID_LENGTH]


@dataclass(frozen=True, slots=True)
class HostKey:
    """A host's X25519 key pair, kept in its data directory (0600); its fingerprint is the data directory's id."""

    private: PrivateKey

    @classmethod
    def load(cls, path: Path) -> "HostKey":
        """Read the key at `path`, making it on the first call."""
        if not path.exists():
            write_private(path, bytes(PrivateKey.generate()))
        return cls(PrivateKey(path.read_bytes()))

    @property
    def public(self) -> str:
        """The public key, base64."""
        return base64.b64encode(bytes(self.private.public_key)).decode()

    @property
    def id(self) -> str:
        """The fingerprint of the public key."""
        return fingerprint(bytes(self.private.public_key))

    def unseal(self, sealed: str) -> bytes:
        """The passphrase that was sealed to this host; raises `SecretUnreadableError` when it was sealed to another
        key.
        """
        kind, key_id, body = _parts(sealed)
        if kind != SEALED or key_id != self.id:
            raise SecretUnreadableError(
                f"The passphrase was sealed to another host key ({key_id}, this host has {self.id}). Give it again."
            )
        try:
            return SealedBox(self.private).decrypt(base64.b64decode(body))
        except (CryptoError, ValueError) as error:
            raise SecretUnreadableError("The sealed passphrase is damaged. Give it again.") from error


def seal(secret: str, public_key: str) -> str:
    """Seal `secret` to a host's public key (base64), so that only that host can read it."""
    raw = base64.b64decode(public_key)
    body = SealedBox(PublicKey(raw)).encrypt(secret.encode())
    return f"{SEALED}:{fingerprint(raw)}:{base64.b64encode(body).decode()}"


class SecretBox:
    """Encrypts and decrypts under keys derived (HKDF-SHA256, RFC 5869) from a comma-separated list of texts."""

    def __init__(self, secret_key: str) -> None:
        self._boxes = dict(_derive(text) for text in secret_key.split(","))
        self._newest = next(iter(self._boxes))

    def encrypt(self, secret: str) -> str:
        """The ciphertext under the newest key."""
        return f"{ENCRYPTED}:{self._newest}:{self._boxes[self._newest].encrypt(secret.encode()).decode()}"

    def decrypt(self, ciphertext: str) -> str:
        """The secret; raises `SecretUnreadableError` when none of the keys made the ciphertext."""
        kind, key_id, body = _parts(ciphertext)
        if kind != ENCRYPTED or key_id not in self._boxes:
            raise SecretUnreadableError(
                f"A secret was encrypted under key {key_id}. Add that key to LOCUTUS_SECRET_KEY."
            )
        try:
            return self._boxes[key_id].decrypt(body.encode()).decode()
        except InvalidToken as error:
            raise SecretUnreadableError("An encrypted secret is damaged. Give it again.") from error


def required(box: SecretBox | None) -> SecretBox:
    """The box; raises `SecretUnreadableError` where this process was given none."""
    if box is None:
        raise SecretUnreadableError("There is no LOCUTUS_SECRET_KEY here.")
    return box


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read; of several writers at once the first wins, the rest keep its file."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        temporary.unlink()


def _derive(text: str) -> tuple[str, Fernet]:
    key = HKDF(algorithm=SHA256(), length=32, salt=None, info=HKDF_INFO).derive(text.strip().encode())
    return fingerprint(key), Fernet(base64.urlsafe_b64encode(key))


def _parts(ciphertext: str) -> tuple[str, str, str]:
    kind, _, rest = ciphertext.partition(":")
    key_id, _, body = rest.partition(":")
    return kind, key_id, body
