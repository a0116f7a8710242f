"""What a reader's client makes of the moments in a message: their own clock's time.

https://docs.slack.dev/messaging/formatting-message-text#date-formatting
https://docs.discord.com/developers/reference#message-formatting-timestamp-styles
"""

import re
from datetime import datetime
from zoneinfo import ZoneInfo

_SLACK_TOKENS = {
    "date_num": "%Y-%m-%d", "date": "%B %d, %Y", "date_short": "%b %d, %Y", "date_long": "%A, %B %d, %Y",
    "date_pretty": "%B %d, %Y", "date_short_pretty": "%b %d, %Y", "date_long_pretty": "%A, %B %d, %Y",
    "time": "%H:%M", "time_secs": "%H:%M:%S",
}  # fmt: skip
_DISCORD_STYLES = {
    "t": "%H:%M", "T": "%H:%M:%S", "d": "%d/%m/%Y", "D": "%d %B %Y", "f": "%d %B %Y %H:%M", "F": "%A, %d %B %Y %H:%M",
}  # fmt: skip


def read_in_slack(text: str, zone: str) -> str:
    """`mrkdwn` as it is read there; raises `ValueError` for a date that Slack would not show."""

    def shown(found: re.Match[str]) -> str:
        date = re.fullmatch(r"!date\^(\d+)\^([^|^]+)\|([^|]+)", found[1])
        if date is None:
            raise ValueError(found[0])
        there = datetime.fromtimestamp(int(date[1]), ZoneInfo(zone))
        return re.sub(r"\{(\w+)\}", lambda token: there.strftime(_SLACK_TOKENS[token[1]]), date[2])

    return re.sub(r"<(!date[^>]*)>", shown, text)


def read_in_discord(text: str, zone: str) -> str:
    """A message's content as it is read there."""

    def shown(found: re.Match[str]) -> str:
        return datetime.fromtimestamp(int(found[1]), ZoneInfo(zone)).strftime(_DISCORD_STYLES[found[2]])

    return re.sub(r"(?<!\\)<t:(\d+):([tTdDfF])>", shown, text)
