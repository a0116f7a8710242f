"""The text of borg's log: the line that people read, and what its words mean where no message id says it."""

import errno
import re

from jobs.borg.events import Event, FileStatus, LogMessage, Text, parse_event

# Control characters but tab, line ends of Unicode and the signs that turn the direction of writing: a file's name may
# hold any of them, and must neither forge a line nor steer a terminal. Lone surrogates cannot be encoded.
_HARMFUL = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_URL_PASSWORD = re.compile(r"(://[^/@:\s]*):[^/@\s]*@")
_UNPREFIXED = frozenset({"INFO", "DEBUG"})
# Under this name borg 1.4 logs the rest of a progress display after an error.
_PROGRESS = "borg.output.progress"
_FILE_WARNING = re.compile(
    r"(?P<path>.+?): (?:(?P<call>[a-z ]+): )?\[Errno (?P<errno>\d{1,3})\] (?P<reason>[^:]+)(?:: .*)?", re.DOTALL
)
_BY_ERRNO = {
    errno.EPERM: "permission_denied",
    errno.EACCES: "permission_denied",
    errno.EPIPE: "connection_lost",
    errno.ECONNRESET: "connection_lost",
    errno.EROFS: "read_only",
    errno.EIO: "io_error",
    errno.EDQUOT: "quota_exceeded",
    errno.ENOMEM: "out_of_memory",
}
# Words of borg's errors, and of ssh and the remote shell, which borg passes on as warnings that begin with "Remote:".
_WORDS = (
    (re.compile(r"^MemoryError", re.MULTILINE), "out_of_memory"),
    (re.compile(r"^Remote: .*Permission denied \("), "ssh_key_refused"),
    (re.compile(r"^Remote: (Host key verification failed|.*HOST IDENTIFICATION HAS CHANGED)"), "host_key_unknown"),
    (re.compile(r"^Remote: .*borg.*(not found|No such file or directory)$"), "remote_borg_missing"),
    (re.compile(r"^(Error: )?Got Ctrl-C"), "killed"),
)


def readable(line: bytes) -> str | None:
    """Return what the log stores for one raw line, without a line end; None for progress and for nothing."""
    return text_of(parse_event(line))


def text_of(event: Event) -> str | None:
    """The same for a line that has been read already: logs are long, and reading is what takes the time."""
    match event:
        case LogMessage(name=name) if name == _PROGRESS:
            return None
        case LogMessage(level=level, message=message):
            text = message if level in _UNPREFIXED else f"{level}: {message}"
        case FileStatus(status, path):
            text = f"{status} {path}"
        case Text(text):
            pass
        case _:
            return None
    return harmless(text) or None


def harmless(text: str) -> str:
    """Return `text` in one line, without a URL's password and without control characters.

    Line ends become ` ↵ `, the other control characters are written out.
    """
    if text.isprintable() and "://" not in text:  # nearly every line: a plain path
        return text
    line = text.strip("\r\n").replace("\r\n", "\n").replace("\n", " ↵ ")
    return _HARMFUL.sub(_written_out, _URL_PASSWORD.sub(r"\1@", line))


def brief(text: str) -> str:
    """Return what a message says, fit for the inside of a sentence; of a traceback only the exception's name."""
    if "Traceback (most recent call last)" in text:
        names = re.findall(r"^([A-Za-z_][\w.]*)(?:: |$)", text, re.MULTILINE)
        return f"an unexpected {names[-1]}" if names else "an unexpected exception"
    line = re.sub(r"^(Command )?Error: ", "", harmless(text.strip().partition("\n")[0])).removesuffix(".")
    return line if len(line) <= 200 else f"{line[:199]}…"


def shortened(message: str) -> str:
    """Return a warning about a file as `path: reason`, without the call, the number and the path's repetition."""
    match = _FILE_WARNING.fullmatch(message)
    return brief(f"{match['path']}: {match['reason']}" if match else message)


def codes_of_error(message: str) -> set[str]:
    """Return the codes that the text of an error speaks of, a traceback's too."""
    codes = {code for words, code in _WORDS if words.search(message)}
    for number in map(int, re.findall(r"\[Errno (\d{1,3})\]", message)):
        if number in _BY_ERRNO:
            codes.add(_BY_ERRNO[number])
        if number == errno.ENOSPC:
            # A traceback that does not pass through the repository comes from the cache or from a temporary file.
            local = "Traceback" in message and "repository.py" not in message
            codes.add("cache_disk_full" if local else "disk_full")
    return codes


def codes_of_warning(message: str) -> set[str]:
    """Return the codes that the text of a warning speaks of: 1.2 gives its warnings no ids."""
    if match := _FILE_WARNING.fullmatch(message):
        number = int(match["errno"])
        if number == errno.ENOSPC:
            # While it reads a source, 1.2 blames that for the full disk of the repository.
            return {"disk_full" if match["call"] == "read" else "destination_full"}
        return {"source_missing" if number == errno.ENOENT else "files_skipped"}
    if re.search(r": file (type or inode )?changed while we backed it up", message):
        return {"file_changed"}
    return {"path_not_in_archive"} if re.fullmatch(r"Include pattern '.*' never matched\.", message) else set()


def _written_out(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
