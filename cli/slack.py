"""`locutus slack manifest`: what a person pastes where Slack asks for an app manifest.

https://docs.slack.dev/reference/app-manifest; scopes: https://docs.slack.dev/reference/scopes.
"""

from typing import Annotated, Any

import typer

from bot.slack.app import PATH
from cli.output import command, note, say_json
from jobs.settings import SettingsError, load_settings

BOT_SCOPES = (
    "commands",
    "chat:write",
    "chat:write.public",  # threads in public channels that nobody invited Locutus to
    # After a crash a message that may have been posted is looked for in the channel, by its metadata.
    "channels:history",
    "groups:history",
    "im:history",
    "mpim:history",
    "metadata.message:read",
    "users:read",
    "usergroups:read",  # roles that are bound to a user group
)
BOT_EVENTS = ("app_home_opened",)

slack = typer.Typer(help="Connect Locutus to Slack.", no_args_is_help=True)


@slack.callback()
def group() -> None:
    """Connect Locutus to Slack."""


@slack.command("manifest")
@command
async def print_manifest(
    *,
    url: Annotated[str, typer.Option(help="Where Slack reaches the gateway; else LOCUTUS_PUBLIC_URL.")] = "",
    socket_mode: Annotated[
        bool, typer.Option("--socket-mode", help="For a gateway without a public address (SLACK_APP_TOKEN).")
    ] = False,
) -> None:
    """Print the app manifest: paste it at api.slack.com/apps, Create New App, From a manifest."""
    settings = load_settings()
    if socket_mode or settings.slack_app_token is not None:
        say_json(manifest("", socket_mode=True))
        return
    public_url = url or settings.public_url
    if not public_url:
        raise SettingsError(
            "LOCUTUS_PUBLIC_URL is not set. Say where Slack reaches the gateway: --url https://…, or "
            "let the gateway call Slack: --socket-mode."
        )
    if not public_url.startswith("https://"):
        note("Slack only calls https:// addresses: put a reverse proxy with a certificate in front of the gateway.")
    say_json(manifest(public_url, socket_mode=False))


def manifest(public_url: str, *, socket_mode: bool) -> dict[str, Any]:
    """The app manifest. With Socket Mode Slack calls no address, and none stands in it."""
    address = {} if socket_mode else {"url": f"{public_url.rstrip('/')}{PATH}"}
    interactivity = {} if socket_mode else {"request_url": address["url"], "message_menu_options_url": address["url"]}
    events = {} if socket_mode else {"request_url": address["url"]}
    slash_command = {
        "command": "/backup",
        "description": "Run and watch backups",
        "usage_hint": "run REPO | status | list | logs JOB | cancel JOB | help",
        "should_escape": False,
    }
    return {
        "display_information": {"name": "Locutus", "description": "The voice of Borg in your chat"},
        "features": {
            "bot_user": {"display_name": "Locutus", "always_online": True},
            "app_home": {
                "home_tab_enabled": True,
                "messages_tab_enabled": True,
                "messages_tab_read_only_enabled": False,
            },
            "slash_commands": [slash_command | address],
        },
        "oauth_config": {"scopes": {"bot": list(BOT_SCOPES)}},
        "settings": {
            "interactivity": {"is_enabled": True} | interactivity,
            "event_subscriptions": {"bot_events": list(BOT_EVENTS)} | events,
            "org_deploy_enabled": False,
            "socket_mode_enabled": socket_mode,
            "token_rotation_enabled": False,
        },
    }
