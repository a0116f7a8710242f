"""What can be said of when: cron, and a few plain phrases; what can't be meant is refused by name."""

from contextlib import suppress
from datetime import datetime

import pytest
from croniter import croniter
from hypothesis import given
from hypothesis import strategies as st

from jobs.errors import InvalidRequestError
from jobs.schedule.expression import parse
from jobs.schedule.phrases import read

START = datetime(2026, 1, 1)  # noqa: DTZ001 - a wall clock's time


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("61 * * * *", "'61' is no minute"),
        ("0 24 * * *", "'24' is no hour"),
        ("0 0 0 * *", "'0' is no day of the month"),
        ("0 0 * 13 *", "'13' is no month"),
        ("0 0 * * 8", "'8' is no day of the week"),
        ("*/0 * * * *", "is no minute"),
        ("*/61 * * * *", "'*/61' is no minute: its step is at most 60"),
        ("0 1,4-20/25 * * *", "'1,4-20/25' is no hour: its step is at most 24"),
        ("0 0 */40 * *", "'*/40' is no day of the month: its step is at most 31"),
        ("0 0 * */13 *", "is no month: its step is at most 12"),
        ("0 0 * * */8", "is no day of the week: its step is at most 7"),
        ("1,2,,3 * * * *", "is no minute"),
        ("H * * * *", "is no minute"),
        ("r * * * *", "is no minute"),
        ("0 0 30 2 *", "never comes"),
        ("0 0 31 4,6 *", "never comes"),
        ("* * * *", "five fields"),
        ("0 * * * * *", "five fields"),
        ("", "five fields"),
        ("é * * * *", "is no minute"),
        ("every 7 minutes", "does not come out even; use one of 1, 2, 3, 4, 5, 6, 10"),
        ("every 0 hours", "does not come out even"),
        ("every night", "say at what time, too: `every night at 2`"),
        ("mondays and fridays", "say at what time, too"),
        ("every night at", "'at' is no time of the day"),
        ("twice a day", "no phrase that is known"),
        ("at 2", "no phrase that is known"),
        ("every blue moon at 2", "no phrase that is known"),
        ("every day at 25", "it goes from 0:00 to 23:59"),
        ("every day at 13 pm", "before am and pm stand 1 to 12"),
        ("every day at dawn", "is no time of the day"),
        ("on the 1st of every month", "say at what time, too"),
        ("every monday morning and friday evening at 6", "says two things at once: make a schedule of each"),
        ("every night and morning at 6", "says two things at once"),
        ("every day and monday at 3", "says two things at once"),
        ("every friday night at 12", "0:00 of a night is on the next day: name that one, as in `saturday at 1`"),
        ("friday night at 1:30", "1:30 of a night is on the next day"),
        ("weekday evenings at midnight", "0:00 of a night is on the next day"),
        ("monthly on the 32nd at 4", "'32' is no day of the month"),
    ],
)
def test_what_never_runs_or_can_not_be_read_is_refused_by_field_and_part(text, named):
    with pytest.raises(InvalidRequestError) as refused:
        read(text)
    assert refused.value.field == "cron_expression"
    assert named in refused.value.reason


@pytest.mark.parametrize(
    ("phrase", "cron"),
    [
        ("every night at 2", "0 2 * * *"),
        ("Every Night at 11:30", "30 23 * * *"),
        ("every night at 12", "0 0 * * *"),
        ("nightly at 23:45", "45 23 * * *"),
        ("every day at 14.30", "30 14 * * *"),
        ("daily at 2 pm", "0 14 * * *"),
        ("every day at 12 am", "0 0 * * *"),
        ("every day at midnight", "0 0 * * *"),
        ("every day at noon", "0 12 * * *"),
        ("every morning at 6", "0 6 * * *"),
        ("every afternoon at 3", "0 15 * * *"),
        ("every evening at 8", "0 20 * * *"),
        ("every evening at 12:30", "30 0 * * *"),
        ("every monday at 18:00", "0 18 * * 1"),
        ("sundays at 4", "0 4 * * 0"),
        ("on fridays at 4", "0 4 * * 5"),
        ("weekdays at 7:30", "30 7 * * 1-5"),
        ("every weekend at 9", "0 9 * * 6,0"),
        ("mondays and fridays at 18:00", "0 18 * * 1,5"),
        ("every monday, wednesday and friday at 3", "0 3 * * 1,3,5"),
        ("monday at 3 am", "0 3 * * 1"),
        ("every saturday night at 11", "0 23 * * 6"),
        ("at 2 every night", "0 2 * * *"),
        ("at 6 pm on weekdays", "0 18 * * 1-5"),
        ("14:30 daily", "30 14 * * *"),
        ("daily", "0 0 * * *"),
        ("weekly", "0 0 * * 0"),
        ("Monthly", "0 0 1 * *"),
        ("monthly on the 1st at 4", "0 4 1 * *"),
        ("on the 1st at 3", "0 3 1 * *"),
        ("on the last day of every month at 3", "0 3 l * *"),
        ("every month on the last day at 4", "0 4 l * *"),
        ("hourly", "0 * * * *"),
        ("every hour", "0 * * * *"),
        ("every 6 hours", "0 */6 * * *"),
        ("every minute", "* * * * *"),
        ("every 15 minutes", "*/15 * * * *"),
        ("30  2 * * MON-FRI", "30 2 * * mon-fri"),
        ("@daily", "0 0 * * *"),
    ],
)
def test_phrase_means_what_it_says(phrase, cron):
    assert read(phrase).text == cron


@pytest.mark.parametrize(
    ("cron", "every_hour"), [("0 * * * *", True), ("0 */1 * * *", True), ("0 0-23 * * *", True), ("0 */2 * * *", False)]
)
def test_every_hour_is_told_from_hours_of_the_day(cron, every_hour):
    assert parse(cron).every_hour is every_hour


@pytest.mark.parametrize(
    ("cron", "meant"),
    [
        ("0 2 1-1 * *", "0 2 1 * *"),
        ("0 21-21 * * *", "0 21 * * *"),
        ("05-5,7 * * * *", "05,7 * * * *"),
        ("1-1/15 * * * *", "1 * * * *"),
        ("0 2 * jan-1 mon-mon", "0 2 * jan mon"),
        ("0 0 * * 0-7", "0 0 * * 0-7"),
    ],
)
def test_range_of_one_value_is_that_value(cron, meant):
    assert parse(cron).text == meant


@given(data=st.data(), position=st.integers(0, 4))
def test_field_names_the_values_that_crontab_says(data, position):
    least, greatest = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))[position]
    value = st.integers(least, greatest)
    item = st.tuples(st.tuples(value, value).map(sorted), st.integers(1, greatest - least + 1))
    items = data.draw(st.lists(item, min_size=1, max_size=3))
    word = ",".join(f"{first}-{last}/{step}" for (first, last), step in items)
    expression = parse(" ".join(word if number == position else "*" for number in range(5)))
    named = {each for (first, last), step in items for each in range(first, last + 1, step)}
    expanded = croniter.expand(expression.text)[0][position]
    assert set(range(least, greatest + 1) if expanded == ["*"] else expanded) == named


@given(st.text("every nightdaymonthlyat 0123456789:*/-,#LHR@", max_size=40))
def test_any_text_is_read_or_refused(text):
    with suppress(InvalidRequestError):
        assert next(read(text).walls(START)) > START
