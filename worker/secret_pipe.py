"""A secret on its way to a child process: in a pipe, never in argv or the environment."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

SECRET_LIMIT = 4096
"""Bytes that a new pipe is sure to take at once (PIPE_BUF, pipe(7))."""


@contextmanager
def secret_pipe(secret: bytes | None) -> Iterator[tuple[int, ...]]:
    """The read end of a pipe that holds `secret`, to be inherited; empty without one. It is closed here at the end.

    Raises ValueError for a secret of more than SECRET_LIMIT bytes.
    """
    if secret is None:
        yield ()
        return
    if len(secret) > SECRET_LIMIT:
        raise ValueError(f"A secret may have {SECRET_LIMIT} bytes; this one has {len(secret)}.")
    read_end, write_end = os.pipe()
    with os.fdopen(read_end, "rb"):
        with os.fdopen(write_end, "wb") as pipe:
            pipe.write(secret)
        yield (read_end,)
