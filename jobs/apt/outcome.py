"""How a run of `install-package` ended. It tells its own failures, each with a code and a sentence."""

import os

from jobs.borg.events import Event, LogMessage, Text
from jobs.borg.log_text import brief, harmless
from jobs.borg.outcome import Outcome, Verdict

SET_UP = 'An administrator of the host sets it up: docs/operations.md, "Packages".'


class InstallDiagnosis:
    """Takes in the log while it is read; its memory does not grow with the log."""

    warned = False

    def __init__(self) -> None:
        self._told: tuple[str, str] | None = None
        self._sudo: str | None = None

    def feed(self, event: Event) -> None:
        """Take in one event: the program's last word, or that of a sudo that did not let it run."""
        match event:
            case LogMessage(level="ERROR", msgid=str(code), message=sentence):
                self._told = code, harmless(sentence)
            case Text(text) if text.startswith("sudo: "):
                self._sudo = brief(text.removeprefix("sudo: "))

    def outcome(self, exit_status: int, *, repository: str, location: str) -> Outcome:
        """Judge the end: `exit_status` is the program's, or minus the signal that killed it."""
        del repository, location
        if exit_status == 0:
            return Outcome(Verdict.SUCCESS, None, None, 0)
        return Outcome(Verdict.ERROR, *self._judge(exit_status), 0)

    def unstarted(self, number: int, program: str) -> Outcome:
        """Judge a start that failed with errno `number`: nothing ran."""
        sentence = f"{program} could not be started ({os.strerror(number)}). {SET_UP}"
        return Outcome(Verdict.ERROR, "install_package_missing", harmless(sentence), 0)

    def _judge(self, status: int) -> tuple[str, str]:
        if self._told:
            return self._told
        if self._sudo:
            return "sudo_refused", f"The worker may not install packages on this host: {self._sudo}. {SET_UP}"
        advice = "Look at the job's log and at `dpkg --audit` on the host, then run it again."
        how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
        return "package_failed", f"The installation {how} and did not say why. {advice}"
