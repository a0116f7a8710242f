"""The manifest that a person pastes: every address leads to the gateway, and Socket Mode needs none."""

import pytest

from bot.slack.app import PATH
from cli.slack import BOT_SCOPES, manifest


@pytest.mark.parametrize("url", ["https://locutus.example.org", "https://locutus.example.org/"])
def test_commands_and_buttons_lead_to_the_gateway(url):
    made = manifest(url, socket_mode=False)
    address = f"https://locutus.example.org{PATH}"
    assert made["display_information"]["name"] == "Locutus"
    assert [(command["command"], command["url"]) for command in made["features"]["slash_commands"]] == [
        ("/backup", address)
    ]
    interactivity = {"is_enabled": True, "request_url": address, "message_menu_options_url": address}
    assert made["settings"]["interactivity"] == interactivity
    assert made["settings"]["event_subscriptions"] == {"request_url": address, "bot_events": ["app_home_opened"]}
    assert made["settings"]["socket_mode_enabled"] is False


def test_socket_mode_names_no_address():
    made = manifest("", socket_mode=True)
    assert made["settings"]["socket_mode_enabled"] is True
    assert made["settings"]["interactivity"] == {"is_enabled": True}
    assert "url" not in made["features"]["slash_commands"][0]


def test_it_asks_for_the_scopes_that_doctor_checks():
    scopes = manifest("https://x.example", socket_mode=False)["oauth_config"]["scopes"]["bot"]
    assert scopes == list(BOT_SCOPES)
    assert {"commands", "chat:write", "channels:history"} <= set(scopes)


@pytest.mark.parametrize("socket_mode", [True, False])
def test_commands_can_be_written_in_the_bots_direct_messages(socket_mode):
    home = manifest("https://x.example", socket_mode=socket_mode)["features"]["app_home"]
    assert home["messages_tab_enabled"]
    assert not home["messages_tab_read_only_enabled"], "read-only is a tab without a place to write in"
