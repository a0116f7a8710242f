"""Every command, for every platform. A group of commands is a module with its own; here it gets its line."""

from bot.commands import (
    archives,
    confirming,
    deliveries,
    notifications,
    overdue,
    repositories,
    schedules,
    starting,
    steering,
    watching,
)
from bot.commands.declaration import Command
from bot.commands.guide import help_command

COMMANDS: dict[str, Command] = {
    command.name: command
    for command in (
        *starting.commands(),
        *watching.COMMANDS,
        *archives.COMMANDS,
        *steering.COMMANDS,
        *confirming.COMMANDS,
        *repositories.COMMANDS,
        *schedules.COMMANDS,
        *overdue.COMMANDS,
        *deliveries.COMMANDS,
        *notifications.COMMANDS,
    )
}
COMMANDS["help"] = help_command(COMMANDS)
