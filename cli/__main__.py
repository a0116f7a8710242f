"""The command line: `locutus`, also `python -m cli`. One command group, one file."""

import os
import sys

import typer

from cli import repo_key_export, repo_ssh  # noqa: F401 - they add their commands to `repo`
from cli.audit import audit
from cli.chat import chat
from cli.confirmations import confirmations
from cli.discord import discord
from cli.doctor import doctor
from cli.expectations import acknowledge, expect, snooze
from cli.grant import grant
from cli.hook import hook
from cli.jobs import jobs, run
from cli.notification import notification
from cli.openapi import openapi
from cli.output import MISUSED, note
from cli.packages import packages
from cli.repo import repo
from cli.repo_import import import_
from cli.schedule import schedule
from cli.serve import gateway, migrate, up, worker
from cli.slack import slack
from cli.subscription import subscription
from cli.template import template
from cli.token import token
from cli.trigger import trigger
from jobs.settings import SettingsError

app = typer.Typer(
    name="locutus",
    help="The voice of Borg in your team's chat.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(context_settings={"ignore_unknown_options": True})(run)
for command in (up, gateway, worker, migrate, doctor, chat, grant, audit, trigger, openapi):
    app.command()(command)
for expectation in (expect, acknowledge, snooze):
    repo.command()(expectation)
repo.command("import")(import_)
app.add_typer(jobs, name="jobs")
app.add_typer(confirmations, name="confirmations")
app.add_typer(repo, name="repo")
app.add_typer(schedule, name="schedule")
app.add_typer(packages, name="packages")
app.add_typer(template, name="template")
app.add_typer(token, name="token")
app.add_typer(subscription, name="subscription")
app.add_typer(hook, name="hook")
app.add_typer(notification, name="notification")
app.add_typer(slack, name="slack")
app.add_typer(discord, name="discord")


def main() -> None:
    """Run a command; a setting that can't be used is one line on stderr and exit status 2."""
    # Database, logs and keys are for their owner alone, also in a data directory that others may enter.
    os.umask(0o077)
    for stream in (sys.stdout, sys.stderr):
        # Names and marks may be beyond what an old locale can print.
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    try:
        app()
    except SettingsError as error:
        note(f"locutus: {error}")
        sys.exit(MISUSED)


if __name__ == "__main__":
    main()
