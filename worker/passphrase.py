"""A repository's passphrase, obtained on its host at each run: unsealed, read from a file, or printed by a command."""

import asyncio
import os
from pathlib import Path
from stat import S_ISREG

from jobs.models import Repository
from jobs.secrets import HostKey, SecretUnreadableError
from worker.ask import ask
from worker.secret_pipe import SECRET_LIMIT

COMMAND_TIMEOUT_S = 30
_TRY_IT = "Try it on the host, as the worker's user."


class PassphraseUnavailableError(Exception):
    """The passphrase can't be had; the sentence says from where, why, and what to do. It never holds the passphrase."""


async def passphrase_of(repository: Repository, key: HostKey) -> bytes | None:
    """The passphrase without a newline at its end, None for a repository that has none; raises
    `PassphraseUnavailableError`.
    """
    if repository.passphrase_command:
        command = repository.passphrase_command
        return _usable(await _from_command(command), f"The passphrase command {command[0]}")
    if repository.passphrase_file:
        file = Path(repository.passphrase_file)
        return _usable(await asyncio.to_thread(_from_file, file), f"The passphrase file {file}")
    if repository.passphrase:
        try:
            return key.unseal(repository.passphrase)
        except SecretUnreadableError as error:
            raise PassphraseUnavailableError(str(error)) from error
    return None


def _usable(output: bytes, source: str) -> bytes:
    """Without the newline at its end; an empty passphrase protects nothing, so borg must not take it for an answer."""
    secret = output.rstrip(b"\r\n")
    if not secret:
        raise PassphraseUnavailableError(f"{source} gives an empty passphrase. Correct it, then run this again.")
    if len(secret) > SECRET_LIMIT:
        raise PassphraseUnavailableError(f"{source} gives more than {SECRET_LIMIT} bytes. Name the right one.")
    return secret


def _from_file(path: Path) -> bytes:
    try:
        # Not blocking: a pipe or a device in that place would hold the job, and this process's stop, for ever.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if not S_ISREG(os.fstat(file.fileno()).st_mode):
                raise PassphraseUnavailableError(
                    f"The passphrase file {path} is not a regular file. Name the right one."
                )
            return file.read(SECRET_LIMIT + 2)
    except OSError as error:
        raise PassphraseUnavailableError(
            f"The passphrase file {path} can't be read ({error.strerror}). Check the path and its permissions."
        ) from error


async def _from_command(argv: list[str]) -> bytes:
    program = f"The passphrase command {argv[0]}"
    try:
        reply = await ask(argv, COMMAND_TIMEOUT_S, SECRET_LIMIT + 2)
    except TimeoutError:
        raise PassphraseUnavailableError(f"{program} gave no answer in {COMMAND_TIMEOUT_S} s. {_TRY_IT}") from None
    except OSError as error:
        raise PassphraseUnavailableError(
            f"{program} can't be run ({error.strerror}). Check its path and its mode."
        ) from error
    if reply.status:
        raise PassphraseUnavailableError(f"{program} failed with status {reply.status}. {_TRY_IT}")
    return reply.output
