"""The options that borg's commands have alike when they run as jobs."""

LOCK_WAIT_S = 60
"""How long borg waits for somebody else's lock before the job is tried again later."""
REPORTING = ("--progress", "--log-json", "--lock-wait", str(LOCK_WAIT_S))
"""Progress and log as JSON lines on stderr."""
