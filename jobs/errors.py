"""Why a request is refused: sentences for people, each class naming who must act. Nothing is written when one is
raised.
"""


class RequestRefusedError(Exception):
    """A request that will not be carried out; its text says what is wrong and what to do now."""


class InvalidRequestError(RequestRefusedError):
    """A field has a bad value: correct it and ask again."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


class NotFoundError(RequestRefusedError):
    """What was asked for does not exist: check its name."""


class ForbiddenError(RequestRefusedError):
    """The asker lacks the right: an administrator can grant it."""


class RateLimitedError(RequestRefusedError):
    """Too much was asked for lately: `retry_after_s` says when to ask again."""

    def __init__(self, sentence: str, retry_after_s: int) -> None:
        super().__init__(sentence)
        self.retry_after_s = retry_after_s


class ConflictError(RequestRefusedError):
    """The request contradicts what exists already: look at it first."""
