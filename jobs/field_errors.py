"""What a model refuses of a field, in words for who filled it in. Pure."""

from collections.abc import Mapping

from pydantic_core import ErrorDetails

TIME = "give a time with its zone as RFC 3339 writes it, such as 2030-01-31T12:00:00Z"
DURATION = "give a duration such as 90s, 15m or 24h"
OBJECT = "give a JSON object"
WHOLE_NUMBER = "give a whole number"
NUMBER = "give a number"
TRUTH = "give true or false"
ONE_OF = "give one of {expected}"

# By pydantic's names: https://docs.pydantic.dev/latest/errors/validation_errors/
REASONS: Mapping[str, str] = {
    "missing": "this field is needed",
    "extra_forbidden": "there is no such field",
    "model_type": OBJECT,
    "model_attributes_type": OBJECT,
    "dict_type": OBJECT,
    "none_required": "only null can be given",
    "list_type": "give a list",
    "string_type": "give a text",
    "string_too_short": "use at least {min_length} characters",
    "string_too_long": "use at most {max_length} characters",
    "string_pattern_mismatch": "it is not written as it should be; `locutus openapi` shows the pattern",
    "int_type": WHOLE_NUMBER,
    "int_parsing": WHOLE_NUMBER,
    "int_parsing_size": WHOLE_NUMBER,
    "int_from_float": WHOLE_NUMBER,
    "float_type": NUMBER,
    "float_parsing": NUMBER,
    "finite_number": NUMBER,
    "bool_type": TRUTH,
    "bool_parsing": TRUTH,
    "literal_error": ONE_OF,
    "enum": ONE_OF,
    "greater_than": "give more than {gt}",
    "greater_than_equal": "give at least {ge}",
    "less_than": "give less than {lt}",
    "less_than_equal": "give at most {le}",
    "too_short": "it is too short: {min_length} is the least length",
    "too_long": "it is too long: {max_length} is the greatest length",
    "time_delta_type": DURATION,
    "time_delta_parsing": DURATION,
    "datetime_type": TIME,
    "datetime_parsing": TIME,
    "datetime_from_date_parsing": TIME,
    "datetime_object_invalid": TIME,
    "timezone_aware": TIME,
}


def field_name(error: ErrorDetails) -> str:
    """The field with its path, such as `events.0`; empty when the whole was refused."""
    return ".".join(str(part) for part in error["loc"])


def reason(error: ErrorDetails) -> str:
    """Why the field was refused, as a sentence that never holds the value given."""
    if known := REASONS.get(error["type"]):
        return known.format(**error.get("ctx", {})) + "."
    said = error["msg"].removeprefix("Value error, ").rstrip(".")
    return said if said.endswith("?") else f"{said}."
