"""`locutus subscription`: endpoints that are told how jobs end, by signed webhooks."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.api_client import ApiError, api
from cli.listing import say_list
from cli.output import NOTHING, AsJson, command, moment, note, say, say_json, table
from jobs.settings import load_settings

PATH, DELIVERIES = "/api/subscriptions", "/api/deliveries"
ALL = "all"

subscription = typer.Typer(help="Have endpoints told how jobs end.", no_args_is_help=True)

SecretFile = Annotated[Path | None, typer.Option(help="A file with the whsec_… that signs; else one is made.")]
DeliveryNumber = Annotated[int, typer.Argument(metavar="ID", min=1, help="The delivery's number.")]
Number = Annotated[int, typer.Argument(metavar="ID", min=1, help="The subscription's number.")]


@subscription.command()
@command
async def add(
    url: Annotated[str, typer.Argument(metavar="URL", help="Where the webhooks go.")],
    *,
    event: Annotated[list[str] | None, typer.Option(help="Such as job.failed; repeat for more; else all ends.")] = None,
    repository: Annotated[list[str] | None, typer.Option(help="Only this one's jobs; repeat for more.")] = None,
    secret_file: SecretFile = None,
    as_json: AsJson = False,
) -> None:
    """Add an endpoint. A secret that is made here is printed this once."""
    body = {"url": url, "events": event, "repositories": repository, "secret": read_secret(secret_file)}
    async with api(load_settings()) as client:
        made = await client.post(PATH, {name: value for name, value in body.items() if value})
    if as_json:
        say_json(made)
        return
    note(f"Subscription {made['id']} is told of {', '.join(made['events'])}.")
    if made["secret"]:
        note("This secret verifies the signatures. Keep it: it is shown this once.")
        say(made["secret"])


@subscription.command("list")
@command
async def list_subscriptions(*, as_json: AsJson = False) -> None:
    """The endpoints; never their secrets."""
    none = "There is no subscription. `locutus subscription add URL` adds one."
    await say_list(PATH, ("ID", "URL", "Events", "Repositories", "State"), _row, none, as_json=as_json)


@subscription.command()
@command
async def remove(number: Number, *, as_json: AsJson = False) -> None:
    """Tell an endpoint nothing more, and forget what it was still to be told."""
    async with api(load_settings()) as client:
        await client.delete(f"{PATH}/{number}")
    if as_json:
        say_json({"removed": number})
    else:
        say(f"Subscription {number} is removed.")


@subscription.command()
@command
async def rotate(number: Number, *, secret_file: SecretFile = None, as_json: AsJson = False) -> None:
    """Sign by a new secret, too; the old one signs beside it until `locutus subscription settle ID`."""
    secret = read_secret(secret_file)
    async with api(load_settings()) as client:
        rotated = await client.post(f"{PATH}/{number}/rotate", {"secret": secret} if secret else {})
    if as_json:
        say_json(rotated)
        return
    note(f"Both secrets sign until `locutus subscription settle {number}` ends the old one.")
    if rotated["secret"]:
        say(rotated["secret"])


@subscription.command()
@command
async def settle(number: Number, *, as_json: AsJson = False) -> None:
    """End the old secret after a rotation."""
    async with api(load_settings()) as client:
        changed = await client.put(f"{PATH}/{number}", {"second_secret": None})
    if as_json:
        say_json(changed)
    else:
        say(f"Subscription {number} has one secret.")


@subscription.command()
@command
async def deliveries(
    *,
    state: Annotated[str | None, typer.Option(help="waiting, delivered or dead.")] = None,
    job: Annotated[int | None, typer.Option(help="Only of this job.")] = None,
    limit: Annotated[int, typer.Option(min=1)] = 20,
    as_json: AsJson = False,
) -> None:
    """What was sent and is to be sent, webhooks and notifications."""
    async with api(load_settings()) as client:
        found = await client.items(DELIVERIES, limit, state=state, job_id=job)
    if as_json:
        say_json({"items": found})
        return
    rows = [[str(one["id"]), one["event"], _whom(one), one["state"], str(one["attempts"]), _last(one)] for one in found]
    table(("ID", "Event", "To", "State", "Tries", "Last answer"), rows, "There is no such delivery.")


@subscription.command()
@command
async def tries(number: DeliveryNumber, *, as_json: AsJson = False) -> None:
    """Each try of a delivery, with the first of its answer."""
    async with api(load_settings()) as client:
        found = await client.get(f"{DELIVERIES}/{number}")
    if as_json:
        say_json(found)
        return
    rows = [[moment(one["at"]), str(one["status"] or NOTHING), one["error"] or "taken", one["answer"] or NOTHING]
            for one in found["tries"]]  # fmt: skip
    table(("At", "Status", "What", "Answer"), rows, "It has not been tried yet.")


@subscription.command()
@command
async def replay(number: DeliveryNumber, *, as_json: AsJson = False) -> None:
    """Send a delivery that has ended once more, under the same id."""
    async with api(load_settings()) as client:
        again = await client.post(f"{DELIVERIES}/{number}/replay")
    if as_json:
        say_json(again)
    else:
        say(f"Delivery {number} is sent again.")


def _row(one: dict[str, Any]) -> list[str]:
    repositories = ALL if one["repositories"] is None else ", ".join(one["repositories"])
    state = "on" if one["enabled"] else one["disabled_reason"] or "off"
    return [str(one["id"]), one["url"], ", ".join(one["events"]), repositories, state]


def _whom(one: dict[str, Any]) -> str:
    subscription = one["subscription_id"]
    return f"subscription {subscription}" if subscription else f"channel {one['notification_channel_id']}"


def _last(one: dict[str, Any]) -> str:
    return one["last_error"] or str(one["last_status"] or NOTHING)


def read_secret(file: Path | None) -> str | None:
    """The secret in a file; raises `ApiError` where there is none to be read."""
    try:
        return file.read_text().strip() if file else None
    except (OSError, UnicodeDecodeError) as error:
        raise ApiError(f"{file} can't be read as a secret ({getattr(error, 'strerror', 'it is no text')}).") from error
