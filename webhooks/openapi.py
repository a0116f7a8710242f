"""The description of the API (OpenAPI 3.1), made from the same declarations as the API itself."""

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from importlib.metadata import version
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from jobs.events import CATALOGUE, EVENT_MODELS, EventName
from webhooks.problems import MEDIA_TYPE, Problem
from webhooks.route import PUBLIC, Route

REFUSALS_OF_A_TOKEN = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS)
REFUSALS_OF_A_BODY = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNPROCESSABLE_ENTITY,
)
REFERENCE = "#/components/schemas/{model}"
WEBHOOK_HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")
"""https://www.standardwebhooks.com, "Webhook Headers"."""

ModelUse = tuple[type[BaseModel], JsonSchemaMode]
Schemas = Mapping[Any, dict[str, Any]]


def document(routes: Iterable[Route]) -> dict[str, Any]:
    """The whole description."""
    declared = tuple(routes)
    schemas, definitions = models_json_schema(sorted(_uses(declared), key=str), ref_template=REFERENCE)
    paths: dict[str, dict[str, Any]] = {}
    for route in declared:
        if route.method == "PUT" and route.body:
            _leave_defaults_out(definitions["$defs"], schemas[route.body, "validation"])
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Locutus", "version": version("locutus")},
        "security": [{"token": []}],
        "paths": paths,
        "webhooks": {name: {"post": _webhook(name, schemas)} for name in CATALOGUE},
        "components": {
            "schemas": definitions["$defs"],
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "responses": {"Problem": _content("A problem document (RFC 9457)", MEDIA_TYPE, _problem(schemas))},
        },
    }


def _leave_defaults_out(definitions: dict[str, Any], body: dict[str, Any]) -> None:
    """What a change does not say stays as it is, whatever the model puts in its place."""
    for field in definitions[body["$ref"].rpartition("/")[2]].get("properties", {}).values():
        field.pop("default", None)


def _uses(routes: tuple[Route, ...]) -> set[ModelUse]:
    uses: set[ModelUse] = {(Problem, "serialization")}
    uses |= {(model, "serialization") for model in EVENT_MODELS.values()}
    for route in routes:
        uses |= {(route.body, "validation")} if route.body else set()
        uses |= {(route.answer, "serialization")} if route.answer else set()
        uses |= {(model, "serialization") for _, model in route.other_answers}
    return uses


def _operation(route: Route, schemas: Schemas) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": route.summary,
        "operationId": _operation_id(route),
        "tags": [_tag(route)],
        "parameters": [*_path_parameters(route), *_query_parameters(route), *_header_parameters(route)],
        "responses": _responses(route, schemas),
    }
    if route.body:
        schema = schemas[route.body, "validation"]
        operation["requestBody"] = {"content": {"application/json": {"schema": schema}}}
    if route.needs == PUBLIC:
        operation["security"] = []
    else:
        operation["description"] = f"Needs the role `{route.needs.word}`."
    return operation


def _webhook(name: EventName, schemas: Schemas) -> dict[str, Any]:
    """What a subscription's endpoint gets (https://spec.openapis.org/oas/v3.1.0#fixed-fields, `webhooks`)."""
    schema = schemas[EVENT_MODELS[name], "serialization"]
    return {
        "summary": CATALOGUE[name].meaning,
        "operationId": name.replace(".", "-"),
        "tags": ["webhooks"],
        "security": [],
        "parameters": [
            {"name": header, "in": "header", "required": True, "schema": {"type": "string"}}
            for header in WEBHOOK_HEADERS
        ],
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        "responses": {
            "2XX": {"description": "Taken: it is not sent again."},
            "410": {"description": "No more webhooks: the subscription is switched off."},
            "default": {"description": "Sent again later."},
        },
    }


def _responses(route: Route, schemas: Schemas) -> dict[str, Any]:
    """Every answer there is; what the gateway refuses by itself follows from what the route takes."""
    refusals = {HTTPStatus.SERVICE_UNAVAILABLE}
    refusals |= set(REFUSALS_OF_A_TOKEN) if route.needs != PUBLIC else set()
    refusals |= {HTTPStatus.NOT_FOUND} if route.variables else set()
    refusals |= {HTTPStatus.UNPROCESSABLE_ENTITY} if route.query or route.request_headers else set()
    refusals |= set(REFUSALS_OF_A_BODY) if route.body else set()
    refusals |= {HTTPStatus.CONFLICT} if route.method != "GET" else set()
    successes = {status for status in (route.status, *route.also) if status < HTTPStatus.MULTIPLE_CHOICES}
    refusals |= set(route.also) - successes
    described = {status: _success(route, status, schemas) for status in sorted(successes)}
    for status, model in route.other_answers:
        described[status] = _content(route.summary, route.media_type, schemas[model, "serialization"])
    described |= {status: {"$ref": "#/components/responses/Problem"} for status in sorted(refusals)}
    return {str(status.value): answer for status, answer in described.items()}


def _success(route: Route, status: HTTPStatus, schemas: Schemas) -> dict[str, Any]:
    if route.answer and status is not HTTPStatus.NO_CONTENT:
        return _content(route.summary, route.media_type, schemas[route.answer, "serialization"])
    if route.media_type != "application/json":
        streams = {media: {"schema": {"type": "string"}} for media in (route.media_type, *route.other_media_types)}
        return {"description": route.summary, "content": streams}
    return {"description": route.summary}


def _path_parameters(route: Route) -> list[dict[str, Any]]:
    def parameter(name: str) -> dict[str, Any]:
        schema = {"type": "integer"} if name == "id" else {"type": "string"}
        return {"name": name, "in": "path", "required": True, "schema": schema}

    return [parameter(name) for name in route.variables]


def _query_parameters(route: Route) -> list[dict[str, Any]]:
    if route.query is None:
        return []
    schema = route.query.model_json_schema()
    required = schema.get("required", [])
    return [
        {"name": name, "in": "query", "required": name in required, "schema": _inlined(field, schema.get("$defs", {}))}
        for name, field in schema["properties"].items()
    ]


def _inlined(schema: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(schema, list):
        return [_inlined(each, definitions) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if reference := schema.get("$ref"):
        return definitions[reference.rpartition("/")[2]]
    return {name: _inlined(value, definitions) for name, value in schema.items()}


def _header_parameters(route: Route) -> list[dict[str, Any]]:
    return [{"name": name, "in": "header", "schema": {"type": "string"}} for name in route.request_headers]


def _content(description: str, media_type: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {media_type: {"schema": schema}}}


def _problem(schemas: Schemas) -> dict[str, Any]:
    return schemas[Problem, "serialization"]


def _operation_id(route: Route) -> str:
    words = route.path.replace("{", "by-").replace("}", "").strip("/").replace("/", "-").replace(".", "-")
    return f"{route.method.lower()}-{words}"


def _tag(route: Route) -> str:
    first, *rest = route.path.strip("/").split("/")
    return rest[0].partition(".")[0] if first == "api" and rest else "gateway"
