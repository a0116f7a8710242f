"""`locutus openapi`: the API's description."""

from cli.output import say_json
from webhooks.app import description


def openapi() -> None:
    """Print the API's description (OpenAPI 3.1)."""
    say_json(description())
