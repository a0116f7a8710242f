"""A job type's routes follow from its declaration alone, wherever its path puts repository and parameters."""

import pytest
from pydantic import Field, ValidationError

from jobs.access import Role
from jobs.job_type import Parameters, Routes
from jobs.types.backup import Backup
from webhooks.api.job_kinds import _parameters, _routes, start_body


class ThawParameters(Parameters):
    archive_id: str
    destination: str = Field(max_length=10)
    overwrite: bool = False


class Thaw(Backup):
    kind = "thaw_archive"
    parameters = ThawParameters
    role = Role.ADMINISTER
    routes = Routes(start="/api/archives/{archive_id}/thaw", status="/api/thaw/jobs/{id}")


class Weigh(Backup):
    kind = "weigh"
    parameters = Parameters
    routes = Routes(start="/api/repositories/{repo}/weigh")


def test_only_declared_routes_are_made():
    assert [(route.method, route.path, route.needs) for route in _routes(Thaw())] == [
        ("POST", "/api/archives/{archive_id}/thaw", Role.ADMINISTER),
        ("GET", "/api/thaw/jobs/{id}", Role.VIEW),
    ]


def test_what_stands_in_the_path_does_not_stand_in_the_body():
    common = {"channel", "priority", "template", "then"}
    assert set(start_body(Thaw()).model_fields) == {"repository", "destination", "overwrite"} | common
    assert set(start_body(Weigh()).model_fields) == common


def test_body_checks_parameters_as_their_kind_does():
    body = start_body(Thaw())
    given = {"repository": "photos", "destination": "/srv"}
    assert body.__name__ == "ThawArchiveStart"
    for refused in ({"destination": "x" * 11}, {"overwrite": "perhaps"}, {"archive_id": "a"}):
        with pytest.raises(ValidationError):
            body.model_validate(given | refused)


def test_parameters_come_from_path_and_body_and_only_as_said():
    body = start_body(Thaw()).model_validate({"repository": "photos", "destination": "/srv", "priority": "low"})
    assert _parameters(Thaw(), body, {"archive_id": "ab12"}) == {"archive_id": "ab12", "destination": "/srv"}
