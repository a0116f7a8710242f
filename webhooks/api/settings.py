"""The settings that people change while Locutus runs."""

from functools import partial

from jobs import audit, runtime_settings
from jobs.access import Role
from jobs.database.unit import unit
from jobs.runtime_settings import RuntimeSettings
from webhooks.route import Call, Plain, Route

PATH = "/api/settings"


async def show(call: Plain) -> RuntimeSettings:
    """What is stored, and the defaults of the rest."""
    del call
    return await runtime_settings.load()


async def alter(call: Call[RuntimeSettings, None]) -> RuntimeSettings:
    """Change the settings given."""
    await unit(partial(_alter, call))
    return await runtime_settings.load()


async def _alter(call: Call[RuntimeSettings, None]) -> None:
    given = call.body.model_dump(mode="json", exclude_unset=True)
    await runtime_settings.store(given)
    await audit.record(call.principal, "settings.change", origin=call.origin, **given)


ROUTES = (
    Route("GET", PATH, Role.ADMINISTER, show, "The settings", answer=RuntimeSettings),
    Route(
        "PUT", PATH, Role.ADMINISTER, alter, "Changes the settings given", body=RuntimeSettings, answer=RuntimeSettings
    ),
)
