"""Record what `systemd-analyze calendar` says: `python tests/samples/systemd/record.py` writes calendar.json anew.

`dropped` is what our rules run beside it, filled in by hand from jobs/schedule/occurrences.py.
"""

import json
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path

CASES = [  # cron, the same for systemd, zone, from, how many, what it drops
    ("30 2 * * *", "*-*-* 02:30:00", "Europe/Berlin", "2026-03-27", 5, ["2026-03-29T01:00:00+00:00"]),
    ("30 2 * * *", "*-*-* 02:30:00", "Europe/Berlin", "2026-10-23", 5, []),
    ("30 2 * * *", "*-*-* 02:30:00", "America/New_York", "2026-03-06", 5, ["2026-03-08T07:00:00+00:00"]),
    ("30 1 * * *", "*-*-* 01:30:00", "America/New_York", "2026-10-30", 5, []),
    ("30 * * * *", "*-*-* *:30:00", "Europe/Berlin", "2026-10-24", 40, ["2026-10-25T01:30:00+00:00"]),
    ("0 */6 * * *", "*-*-* 00/6:00:00", "Australia/Lord_Howe", "2026-04-03", 12, []),
    ("0 3 * * 1-5", "Mon..Fri *-*-* 03:00:00", "Asia/Tokyo", "2026-12-20", 12, []),
    ("15 4 1 * *", "*-*-01 04:15:00", "America/Sao_Paulo", "2026-01-01", 13, []),
    ("0 4 L * *", "*-*~01 04:00:00", "Europe/London", "2027-11-01", 5, []),
    ("0 0 29 2 *", "*-02-29 00:00:00", "UTC", "2026-01-01", 3, []),
    ("*/20 8-9 * 7,8 sat", "Sat *-07,08-* 08,09:00/20:00", "Asia/Kathmandu", "2026-08-20", 13, []),
]  # fmt: skip


def elapses(calendar: str, zone: str, start: str, count: int) -> list[str]:
    arguments = [f"--iterations={count}", f"--base-time={start} 00:00:00 UTC", f"{calendar} {zone}"]
    environment = {"TZ": "UTC", "LC_ALL": "C", "PATH": "/usr/bin:/bin"}
    said = subprocess.run(
        ["systemd-analyze", "calendar", *arguments], check=True, capture_output=True, text=True, env=environment
    )
    found = re.findall(r"(?:Next elapse|Iter\. #\d+): \w{3} (\S+ \S+) UTC", said.stdout)
    return [datetime.fromisoformat(moment).replace(tzinfo=UTC).isoformat() for moment in found]


def main() -> None:
    cases = [
        {"cron": cron, "zone": zone, "from": f"{start}T00:00:00+00:00", "dropped": dropped,
         "elapses": elapses(calendar, zone, start, count)}
        for cron, calendar, zone, start, count, dropped in CASES
    ]  # fmt: skip
    Path(__file__).with_name("calendar.json").write_text(json.dumps(cases, indent=1) + "\n")


if __name__ == "__main__":
    main()
