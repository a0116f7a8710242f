#!/usr/bin/env python3
"""Start a job by a hook of Locutus, and wait for its end: one file for a pipeline, with Python 3.8 and nothing else.

    python3 ci_trigger.py https://backup.example.org/hooks/deploy --secret-file secret --wait

The request is signed by Standard Webhooks. One that is not answered is sent again under the same id, so that there
is one job in the end. Exit status: 0 the job completed (without --wait: it was accepted, or is not meant), 1 it failed,
was cancelled or refused, 2 this was called wrongly, 3 nobody answered in time.
"""

import argparse
import base64
import hmac
import http.client
import json
import re
import sys
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path
from typing import Any, Dict, FrozenSet, List, NamedTuple, Optional

TRIES = 6
PAUSE_S = 2.0
ANSWER_TIMEOUT_S = 90
WAIT_S = 60
GREATEST_PAUSE_S = 900
"""A `Retry-After` that asks for more ends the tries."""
FAILED, MISUSED, UNREACHABLE = 1, 2, 3
NOTHING = 204
TRY_AGAIN = frozenset({408, 429, 500, 502, 503, 504})
JOB = frozenset({"id", "status", "completed_at", "error_message"})
ACCEPTED = frozenset({"status", "status_url"})


class TriggerError(Exception):
    """The end of the command: one line, and the exit status."""

    def __init__(self, sentence: str, status: int) -> None:
        super().__init__(sentence)
        self.status = status


class Hook(NamedTuple):
    """Where to send, and the key that signs."""

    url: str
    key: bytes

    def headers(self, webhook_id: str, content: bytes) -> Dict[str, str]:
        """The signature's headers; https://www.standardwebhooks.com"""
        stamp = str(int(time.time()))
        signed = f"{webhook_id}.{stamp}.".encode() + content
        digest = base64.b64encode(hmac.new(self.key, signed, "sha256").digest()).decode()
        return {"webhook-id": webhook_id, "webhook-timestamp": stamp, "webhook-signature": f"v1,{digest}"}


def trigger(hook: Hook, payload: bytes, webhook_id: str) -> Optional[Dict[str, Any]]:
    """Send the payload; the job that was accepted, or None where the hook does not mean it. Raises `TriggerError`."""

    def request() -> urllib.request.Request:
        headers = {"content-type": "application/json", **hook.headers(webhook_id, payload)}
        return urllib.request.Request(hook.url, payload, headers, method="POST")

    return _answered(request, ACCEPTED)


def ended(hook: Hook, job_id: int) -> Dict[str, Any]:
    """The job once it has ended. Raises `TriggerError`."""
    name = hook.url.rpartition("/")[2]

    def request() -> urllib.request.Request:
        headers = hook.headers(f"look-{uuid.uuid4().hex}", f"GET /hooks/{name}/jobs/{job_id}".encode())
        return urllib.request.Request(f"{hook.url}/jobs/{job_id}?wait={WAIT_S}", headers=headers)

    while True:
        job = _answered(request, JOB)
        if job is None:
            raise TriggerError("what answers is not Locutus", UNREACHABLE)
        if job["completed_at"]:
            return job


def _answered(request: Any, fields: FrozenSet[str]) -> Optional[Dict[str, Any]]:
    """The JSON object of an answer, with these fields; None where it says that there is nothing to say.

    What may pass by itself is tried again, signed anew for its time, and as late as the answer asks.
    """
    for number in range(1, TRIES + 1):
        pause_s = PAUSE_S * number
        try:
            with urllib.request.urlopen(request(), timeout=ANSWER_TIMEOUT_S) as answer:
                return None if answer.status == NOTHING else _read(answer.read(), fields)
        except urllib.error.HTTPError as error:
            reason = _refusal(error)
            if error.code not in TRY_AGAIN:
                raise TriggerError(reason, FAILED) from error
            pause_s = max(pause_s, _retry_after_s(error))
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = f"no answer ({getattr(error, 'reason', error)})"
        print(f"locutus: {reason}", file=sys.stderr)
        if number == TRIES or pause_s > GREATEST_PAUSE_S:
            break
        time.sleep(pause_s)
    raise TriggerError(f"given up at try {number}: {reason}", UNREACHABLE)


def _read(text: bytes, fields: FrozenSet[str]) -> Dict[str, Any]:
    found = json.loads(text)
    if not isinstance(found, dict) or not fields <= found.keys():
        raise ValueError("what answers is not Locutus")
    return found


def _retry_after_s(error: urllib.error.HTTPError) -> float:
    given = error.headers.get("Retry-After", "")
    return float(given) if re.fullmatch("[0-9]{1,9}", given) else 0.0


def _refusal(error: urllib.error.HTTPError) -> str:
    try:
        return f"refused with {error.code}: {json.loads(error.read())['detail']}"
    except (ValueError, KeyError, TypeError, OSError, http.client.HTTPException):
        return f"refused with {error.code}"


def read_hook(url: str, secret_file: Path) -> Hook:
    """The hook's address and key; raises `TriggerError`."""
    if not re.fullmatch(r"https?://[^/?#]+(/[^?#]*)?/hooks/[a-z0-9][a-z0-9._-]*", url):
        raise TriggerError(f"{url} is no hook's address: it ends in /hooks/NAME", MISUSED)
    try:
        prefix, _, encoded = secret_file.read_text(encoding="ascii").strip().rpartition("whsec_")
        key = base64.b64decode(encoded, validate=True)
    except (OSError, ValueError) as error:
        raise TriggerError(f"{secret_file} can't be read as a secret: it holds whsec_…", MISUSED) from error
    if prefix or not key:
        raise TriggerError(f"{secret_file} can't be read as a secret: it holds whsec_…", MISUSED)
    return Hook(url, key)


def run(hook: Hook, payload: bytes, webhook_id: str, *, wait: bool) -> int:
    """Trigger, and with `wait` see the job to its end; returns the exit status. Raises `TriggerError`."""
    accepted = trigger(hook, payload, webhook_id)
    if accepted is None:
        print("locutus: nothing is done for this: the hook's conditions don't match")
        return 0
    if "job_id" not in accepted:
        print(f"locutus: it waits for a second person (confirmation {accepted.get('confirmation_id')})")
        return FAILED if wait else 0
    print(f"locutus: job #{accepted['job_id']} is {accepted['status']}: {accepted['status_url']}")
    if not wait:
        return 0
    job = ended(hook, accepted["job_id"])
    print(
        f"locutus: job #{job['id']} is {job['status']}" + (f": {job['error_message']}" if job["error_message"] else "")
    )
    return 0 if job["status"] == "completed" else FAILED


def main(arguments: Optional[List[str]] = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Start a job by a hook of Locutus.")
    parser.add_argument("url", help="the hook's address, https://…/hooks/NAME")
    parser.add_argument("--secret-file", type=Path, required=True, help="a file with the hook's whsec_…")
    parser.add_argument("--data", default="{}", help="a JSON object for the hook's conditions and parameters")
    parser.add_argument("--id", default="", help="names this delivery, so that its repetition starts nothing new")
    parser.add_argument("--wait", action="store_true", help="wait for the job's end")
    given = parser.parse_args(arguments)
    try:
        hook = read_hook(given.url, given.secret_file)
        return run(hook, given.data.encode(), given.id or f"trigger-{uuid.uuid4().hex}", wait=given.wait)
    except TriggerError as error:
        print(f"locutus: {error}", file=sys.stderr)
        return error.status


if __name__ == "__main__":
    sys.exit(main())
