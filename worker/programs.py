"""The programs that job types run, by the names under which these ask for them."""

from jobs.settings import Settings

BORG = "borg"


def command_of(program: str, settings: Settings) -> tuple[str, ...]:
    """How the program called `program` is started on this host; its arguments follow."""
    if program != BORG:
        raise ValueError(f"There is no program called {program!r}.")
    return (settings.borg,)
