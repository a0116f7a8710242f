from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from inspect import cleandoc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot import wording
from bot.card import Button, Message, Part, failure_message, job_card, progress_message
from jobs.view import JobStatus, JobView, Progress

NOW = datetime(2026, 11, 23, 14, 3, tzinfo=UTC)
GB = 10**9


@dataclass(frozen=True)
class Words:
    noun: str = "Backup"
    preposition: str = "of"
    running: str = "Backing up"


WORDS = Words()
LOCKED = Progress(progress_message="The repository is still locked.")
FIGURES = Progress(
    nfiles=1204,
    original_size=19_300_000_000,
    deduplicated_size=1_200_000_000,
    backup_speed=84.2,
    current_file="/home/anna/Pictures/2026/11/A trip to the sea with everybody/IMG_2041.CR3",
    last_activity_at=NOW - timedelta(seconds=3),
)
ESTIMATE = FIGURES.model_copy(
    update={
        "progress_percent": 61.9,
        "percent_is_estimate": True,
        "eta_s": 141.0,
        "total_size": 31_200_000_000,
        "total_from": "previous archive",
    }
)
FINAL = Progress(progress_percent=100.0, nfiles=1204, original_size=31_200_000_000, deduplicated_size=2_100_000_000)
CHANGED = "3 files changed while they were read; the archive holds what was read."
GIVEN_UP = "The host nas-1 was silent for 24 h. What became of the run is not known."
LOST = "#5 (backup), whose host nas-2 is lost (`locutus jobs forget 5` frees the repository)"
NO_REPOSITORY = "The repository /srv/borg/photos does not exist. Create it, or correct its location."


def job(status="running", progress=FIGURES, **changes):
    fields = {
        "id": 7,
        "kind": "backup",
        "status": JobStatus(status),
        "repository": "photos",
        "host": "nas-1",
        "progress": progress,
        "warnings": 0,
        "error_code": None,
        "error_message": None,
        "archive_name": None,
        "logs_url": "/api/backup/logs/7",
        "requested_by": "slack:T1:U1",
        "late_status": None,
        "cancelled_by": None,
        "origin": "slack",
        "priority": "normal",
        "attempt": 1,
        "retry_of": None,
        "parent_id": None,
        "scheduled_job_id": None,
        "not_before": None,
        "waits_for": None,
        "queue_place": None,
        "host_silent_since": None,
        "created_at": NOW,
        "started_at": None,
        "completed_at": None,
        "duration_s": None,
    }
    return JobView(**(fields | changes))


def shown(message: Message) -> str:
    """The message as a terminal would show it."""
    lines = [f"{message.mark} {message.headline} {message.state}"]
    lines += [f"{wording.bar(message.bar.fraction)} {message.bar.caption}"] if message.bar else []
    lines += message.lines
    lines += [f"{field.name}: {field.value}" for field in message.fields]
    lines += [f"({message.note})"] if message.note else []
    lines += [message.code] if message.code else []
    lines += [f"[{button.label}]" for button in message.buttons]
    return "\n".join(lines)


CARDS = {
    "pending": (
        job_card(job("pending", Progress(), waits_for="#5 (check, running)", queue_place=2), words=WORDS),
        """
        ○ Backup of photos #7 pending
        waiting for #5 (check, running), place 2 in the queue
        Host: nas-1
        Asked by: Slack user U1
        [Cancel]
        """,
    ),
    "running": (
        job_card(job(), words=WORDS),
        """
        ● Backup of photos #7 running
        Host: nas-1
        Asked by: Slack user U1
        [Cancel]
        [Show log]
        """,
    ),
    "pending behind a job of a lost host": (
        job_card(job("pending", Progress(), waits_for=LOST, queue_place=1), words=WORDS),
        f"""
        ○ Backup of photos #7 pending
        waiting for {LOST}, next in the queue
        Host: nas-1
        Asked by: Slack user U1
        [Cancel]
        """,
    ),
    "pending on a silent host": (
        job_card(
            job("pending", Progress(), waits_for="nas-1 to be heard of again", queue_place=1, host_silent_since=NOW),
            words=WORDS,
        ),
        """
        ○ Backup of photos #7 pending
        waiting for nas-1 to be heard of again, next in the queue
        host silent since 23 Nov 14:03 UTC
        Host: nas-1
        Asked by: Slack user U1
        [Cancel]
        """,
    ),
    "silent": (
        job_card(job(host_silent_since=NOW), words=WORDS),
        """
        ● Backup of photos #7 running
        host silent since 23 Nov 14:03 UTC
        Host: nas-1
        Asked by: Slack user U1
        [Cancel]
        [Show log]
        """,
    ),
    "completed, with what follows": (
        job_card(
            job(
                "completed",
                FINAL,
                duration_s=252.4,
                archive_name="photos-2026-11-23",
                requested_by="token:ci",
                origin="api",
            ),
            words=WORDS,
            chain=[job("running", id=8, kind="prune"), job("pending", id=9, kind="compact")],
        ),
        """
        ✓ Backup of photos #7 completed in 4 min 12 s
        Host: nas-1
        Asked by: token ci
        Via: API
        Archive: photos-2026-11-23
        Then: prune #8 running, compact #9 pending
        [Cancel]
        [Run again]
        [Show log]
        """,
    ),
    "completed with warnings": (
        job_card(job("completed", FINAL, duration_s=252.4, warnings=3, error_message=CHANGED), words=WORDS),
        f"""
        ! Backup of photos #7 completed with 3 warnings in 4 min 12 s
        {CHANGED}
        Host: nas-1
        Asked by: Slack user U1
        [Run again]
        [Show log]
        """,
    ),
    "failed": (
        job_card(job("failed", duration_s=12.0, error_message=NO_REPOSITORY), words=WORDS),
        f"""
        ✗ Backup of photos #7 failed after 12 s
        {NO_REPOSITORY}
        Host: nas-1
        Asked by: Slack user U1
        [Retry]
        [Show log]
        """,
    ),
    "cancelled": (
        job_card(job("cancelled", duration_s=95.0, cancelled_by="slack:T1:U2"), words=WORDS),
        """
        – Backup of photos #7 cancelled after 1 min 35 s
        Host: nas-1
        Asked by: Slack user U1
        Cancelled by: Slack user U2
        [Retry]
        [Show log]
        """,
    ),
    "a second attempt": (
        job_card(job("pending", attempt=2, not_before=NOW, error_message="The connection was lost."), words=WORDS),
        """
        ○ Backup of photos #7 pending
        tried again at 23 Nov 14:03:00 UTC
        The connection was lost.
        Host: nas-1
        Asked by: Slack user U1
        Attempt: 2
        [Cancel]
        """,
    ),
    "given up, and then told late": (
        job_card(
            job("failed", duration_s=86_400.0, error_message=GIVEN_UP, late_status=JobStatus.COMPLETED), words=WORDS
        ),
        """
        ✗ Backup of photos #7 failed after 1 d
        the host returned: it had completed after all
        Host: nas-1
        Asked by: Slack user U1
        [Show log]
        """,
    ),
    "being cancelled": (
        job_card(job(cancelled_by="slack:T1:U2"), words=WORDS),
        """
        ● Backup of photos #7 running
        being cancelled, asked by Slack user U2
        Host: nas-1
        Asked by: Slack user U1
        [Show log]
        """,
    ),
    "another kind, without its words or a repository": (
        job_card(job(kind="package_install", repository=None, requested_by="cli:root", origin="cli", retry_of=5)),
        """
        ● Package install on nas-1 #7 running
        Asked by: root at the command line
        Retry of: #5
        [Cancel]
        [Show log]
        """,
    ),
    "asked for once more, the third and fourth time, after another had said yes to it": (
        job_card(
            job("completed", duration_s=4.0),
            words=WORDS,
            again=[job(id=number, requested_by=f"slack:T1:U{number}") for number in (8, 9, 10)],
            confirmed_by="slack:T1:U2",
        ),
        """
        ✓ Backup of photos #7 completed in 4 s
        Host: nas-1
        Asked by: Slack user U1
        Confirmed by: Slack user U2
        Run again as #9 by: Slack user U9
        Run again as #10 by: Slack user U10
        [Run again]
        [Show log]
        """,
    ),
    "retried": (
        job_card(job("failed", error_message="No."), words=WORDS, again=[job(id=9, requested_by="token:ci")]),
        """
        ✗ Backup of photos #7 failed
        No.
        Host: nas-1
        Asked by: Slack user U1
        Retried as #9 by: token ci
        [Retry]
        [Show log]
        """,
    ),
}

PROGRESS = {
    "pending": (
        progress_message(job("pending", Progress()), now=NOW, words=WORDS),
        """
        ○ Backup of photos #7 pending
        waiting for nas-1
        """,
    ),
    "pending behind another": (
        progress_message(
            job("pending", Progress(), waits_for="#5 (check, running)", queue_place=2), now=NOW, words=WORDS
        ),
        """
        ○ Backup of photos #7 pending
        waiting for #5 (check, running)
        """,
    ),
    "with an estimated total": (
        progress_message(job(progress=ESTIMATE), now=NOW, words=WORDS),
        """
        ● Backing up photos #7 running
        ████████████░░░░░░░░ ≈ 62 % of the previous archive's 31.2 GB
        1,204 files · 19.3 GB · 1.2 GB new · 84.2 MB/s · about 2 min left
        (/home/anna/…/IMG_2041.CR3)
        """,
    ),
    "without a total": (
        progress_message(
            job(progress=FIGURES.model_copy(update={"progress_message": "Reading files"})), now=NOW, words=WORDS
        ),
        """
        ● Backing up photos #7 running
        Reading files
        1,204 files · 19.3 GB · 1.2 GB new · 84.2 MB/s
        last activity 3 s ago
        (/home/anna/…/IMG_2041.CR3)
        """,
    ),
    "before the first figures": (
        progress_message(job(progress=Progress()), now=NOW, words=WORDS),
        """
        ● Backing up photos #7 running
        no figures yet
        """,
    ),
    "silent": (
        progress_message(job(progress=ESTIMATE, host_silent_since=NOW), now=NOW, words=WORDS),
        """
        ● Backing up photos #7 running
        ████████████░░░░░░░░ ≈ 62 % of the previous archive's 31.2 GB
        1,204 files · 19.3 GB · 1.2 GB new
        host silent since 23 Nov 14:03 UTC
        (/home/anna/…/IMG_2041.CR3)
        """,
    ),
    "completed": (
        progress_message(job("completed", FINAL, duration_s=252.4), now=NOW, words=WORDS),
        """
        ✓ Backup of photos #7 completed in 4 min 12 s
        1,204 files · 31.2 GB · 2.1 GB new in the repository
        """,
    ),
    "completed with warnings": (
        progress_message(
            job("completed", FINAL, duration_s=252.4, warnings=3, error_message=CHANGED), now=NOW, words=WORDS
        ),
        f"""
        ! Backup of photos #7 completed with 3 warnings in 4 min 12 s
        1,204 files · 31.2 GB · 2.1 GB new in the repository
        {CHANGED}
        """,
    ),
    "failed": (
        progress_message(job("failed", duration_s=12.0, error_message=NO_REPOSITORY), now=NOW, words=WORDS),
        f"""
        ✗ Backup of photos #7 failed after 12 s
        {NO_REPOSITORY}
        """,
    ),
    "given up, and then told late": (
        progress_message(
            job("failed", duration_s=86_400.0, error_message=GIVEN_UP, late_status=JobStatus.CANCELLED),
            now=NOW,
            words=WORDS,
        ),
        """
        ✗ Backup of photos #7 failed after 1 d
        the host returned: it had been cancelled
        """,
    ),
    "failed, nobody knows why": (
        progress_message(job("failed"), now=NOW, words=WORDS),
        """
        ✗ Backup of photos #7 failed
        no reason was recorded
        """,
    ),
    "cancelled": (
        progress_message(job("cancelled", duration_s=95.0, cancelled_by="token:ci"), now=NOW, words=WORDS),
        """
        – Backup of photos #7 cancelled after 1 min 35 s
        Cancelled by: token ci
        """,
    ),
    "cancelled, with what did not follow": (
        progress_message(
            job("cancelled", LOCKED, error_message="The repository is still locked. Prune did not run."), now=NOW
        ),
        """
        – Backup of photos #7 cancelled
        The repository is still locked. Prune did not run.
        """,
    ),
}


@pytest.mark.parametrize(("message", "expected"), CARDS.values(), ids=CARDS)
def test_card_reads(message, expected):
    assert shown(message) == cleandoc(expected)


@pytest.mark.parametrize(("message", "expected"), PROGRESS.values(), ids=PROGRESS)
def test_progress_reads(message, expected):
    assert shown(message) == cleandoc(expected)


@pytest.mark.parametrize(
    ("progress", "caption"),
    [
        ({"progress_percent": 61.9, "total_from": "scan"}, "≈ 62 % of the 31.2 GB a scan found"),
        ({"total_size": None, "total_files": 4000}, "≈ 62 % of the previous archive's 4,000 files"),
        ({"percent_is_estimate": False}, "62 % of 31.2 GB"),
        ({"percent_is_estimate": False, "total_size": None}, "62 %"),
        ({"progress_percent": None, "progress": 45.0, "percent_is_estimate": False, "total_size": None}, "45 %"),
        ({"progress_percent": 0.2}, "under 1 % of the previous archive's 31.2 GB"),
        ({"progress_percent": 100.0}, "≈ 99 % of the previous archive's 31.2 GB"),
    ],
)
def test_percentage_says_what_it_is_a_share_of(progress, caption):
    message = progress_message(job(progress=ESTIMATE.model_copy(update=progress)), now=NOW)
    assert message.bar is not None
    assert message.bar.caption == caption


def test_outgrown_estimate_is_not_shown_as_a_percentage():
    outgrown = ESTIMATE.model_copy(update={"original_size": 33 * GB})
    message = progress_message(job(progress=outgrown), now=NOW)
    assert message.bar is None
    assert "33.0 GB (expected the previous archive's 31.2 GB)" in message.lines[0]
    assert "left" not in message.text


def test_unknown_total_is_never_a_percentage():
    assert "%" not in progress_message(job(progress=FIGURES), now=NOW).text


def test_stalled_run_tells_its_last_activity_beside_the_bar():
    stalled = ESTIMATE.model_copy(update={"last_activity_at": NOW - timedelta(minutes=4)})
    assert progress_message(job(progress=stalled), now=NOW).lines[-1] == "last activity 4 min ago"
    clock_ahead = FIGURES.model_copy(update={"last_activity_at": NOW + timedelta(minutes=4)})
    assert progress_message(job(progress=clock_ahead), now=NOW).lines[-1] == "last activity just now"


def test_progress_message_does_not_change_with_the_place_in_the_queue():
    places = [job("pending", waits_for="#5 (check, running)", queue_place=place) for place in (1, 2)]
    assert len({progress_message(view, now=NOW).text for view in places}) == 1
    assert len({job_card(view).text for view in places}) == 2


@pytest.mark.parametrize("late", [JobStatus.FAILED, JobStatus.CANCELLED])
def test_job_that_was_given_up_can_be_retried_unless_it_had_completed(late):
    assert [button.label for button in job_card(job("failed", late_status=late)).buttons] == ["Retry", "Show log"]
    late_success = job_card(job("failed", late_status=JobStatus.COMPLETED))
    assert [button.label for button in late_success.buttons] == ["Show log"]


def test_card_does_not_change_with_the_progress():
    assert job_card(job(progress=ESTIMATE)) == job_card(job(progress=Progress()))


def test_plain_text_says_the_same_in_one_sentence():
    message = progress_message(job("completed", FINAL, duration_s=252.4), now=NOW, words=WORDS)
    assert message.text == (
        "Backup of photos #7 completed in 4 min 12 s: 1,204 files, 31.2 GB, 2.1 GB new in the repository"
    )
    failed = job_card(job("failed", duration_s=12.0, error_message=NO_REPOSITORY), words=WORDS)
    assert failed.text == (
        "Backup of photos #7 failed after 12 s: The repository /srv/borg/photos does not exist. "
        "Create it, or correct its location, host nas-1, asked by Slack user U1"
    )


def test_failure_reply_shows_the_end_of_the_log():
    message = failure_message(job("failed"), [f"line {number}" for number in range(40)])
    assert shown(message).startswith(
        "✗ Last log lines of #7 failed\n/backup logs 7 shows the whole log\nAsked by: Slack user U1\nline 25\n"
    )
    assert message.text.endswith("\nline 39")
    assert message.part is Part.FAILURE


def test_failure_reply_of_an_empty_log_says_so():
    message = failure_message(job("failed"), ["", "\n"])
    assert message.code is None
    assert message.lines == ("the log is empty",)


SHOW_LOG = Button("job.log", "7", "Show log")


@pytest.mark.parametrize(
    ("status", "buttons"),
    [
        ("pending", (Button("job.cancel", "7", "Cancel", "danger"),)),
        ("running", (Button("job.cancel", "7", "Cancel", "danger"), SHOW_LOG)),
        ("completed", (Button("job.again", "7", "Run again"), SHOW_LOG)),
        ("failed", (Button("job.retry", "7", "Retry"), SHOW_LOG)),
        ("cancelled", (Button("job.retry", "7", "Retry"), SHOW_LOG)),
    ],
)
def test_card_offers_what_can_be_done_in_its_state(status, buttons):
    assert job_card(job(status)).buttons == buttons


@pytest.mark.parametrize(
    ("subject", "origin", "facts"),
    [
        ("slack:T1:U1", "slack", ["Slack user U1"]),
        ("discord:123:456", "discord", ["Discord user 456"]),
        ("token:ci", "api", ["token ci", "API"]),
        ("hook:deploy", "hook:deploy", ["hook deploy"]),
        ("token:ci", "hook:deploy", ["token ci", "webhook deploy"]),
        ("schedule:nightly", "schedule", ["schedule nightly"]),
        ("console", "console", ["console"]),
    ],
)
def test_card_says_who_asked_and_by_what_way_if_that_is_news(subject, origin, facts):
    card = job_card(job(requested_by=subject, origin=origin))
    assert [field.value for field in card.fields if field.name in {"Asked by", "Via"}] == facts
    assert card.fields[1].subject == subject


anything = st.text(max_size=3000)


@given(status=st.sampled_from(JobStatus), name=anything, sentence=anything, warnings=st.integers(0, 9))
def test_every_text_names_the_job_and_its_state(status, name, sentence, warnings):
    progress = ESTIMATE.model_copy(update={"current_file": name, "progress_message": sentence})
    view = job(
        status,
        progress,
        repository=name,
        host=name,
        error_message=sentence,
        warnings=warnings,
        waits_for=sentence,
        queue_place=3,
        host_silent_since=NOW,
        late_status=JobStatus.COMPLETED,
    )
    for message in (job_card(view), progress_message(view, now=NOW), failure_message(view, [sentence, name])):
        assert "#7" in message.text
        assert status.value in message.text
        assert message.text.count("\n") <= 16
        assert len(message.text) < 3_500


def test_job_of_a_host_is_titled_by_what_it_is_about():
    words = Words("Installation", "of", "Installing")
    install = {"kind": "package_install", "repository": None, "subject": "tree"}
    assert job_card(job(**install), words=words).headline == "Installation of tree on nas-1"
    done = progress_message(job("completed", Progress(progress_message="tree 2.1 is installed"), **install), now=NOW)
    assert (done.headline, done.lines) == ("Package install of tree on nas-1", ("tree 2.1 is installed",))
    running = progress_message(job(progress=Progress(), **install), now=NOW, words=words)
    assert running.headline == "Installing tree on nas-1"


def test_card_shows_the_steps_to_come_and_those_that_did_not_run():
    first = job("completed", follow_ups=("prune", "compact"))
    prune = job("running", id=8, kind="prune", parent_id=7, follow_ups=("compact",))
    failed = prune.model_copy(update={"status": JobStatus.FAILED})
    shown = [
        next(field.value for field in job_card(first, chain=chain).fields if field.name == "Then")
        for chain in ([], [prune], [failed])
    ]
    assert shown == ["prune, compact", "prune #8 running, compact", "prune #8 failed, compact not run"]


def test_button_of_a_chains_card_ends_the_step_that_goes_on():
    first = job("completed", follow_ups=("prune",))
    going_on = [job("running", id=8, kind="prune", parent_id=7)]
    over = [step.model_copy(update={"status": JobStatus.COMPLETED}) for step in going_on]
    ends = [
        [b.value for b in job_card(first, chain=chain).buttons if b.action == "job.cancel"]
        for chain in (going_on, over)
    ]
    assert ends == [["7"], []]
