"""Questions for a second person: shown where people see them who may answer, and edited to what became of them."""

import asyncio
import time
from functools import partial

import structlog
from tortoise.expressions import Q

from bot.platform import ChannelRefused, ChatError, ChatPlatform
from bot.question import question_message
from jobs import confirmations
from jobs.clock import now
from jobs.confirmations import ConfirmationState
from jobs.database.unit import reader, unit
from jobs.models import Confirmation, QuestionMessage
from jobs.threads import move_question
from worker import posting
from worker.budget import Budget

LOOK_EVERY_S = 1.0
AT_ONCE = 20
"""Of those that are due: first the ones that nothing stood in the way of."""

_log = structlog.get_logger()


class Questions:
    """Keeps the questions on one platform true; `run` until cancelled."""

    def __init__(self, platform: ChatPlatform, budget: Budget) -> None:
        self._platform = platform
        self._budget = budget
        self._not_before_s: dict[int, float] = {}

    async def run(self) -> None:
        """Look once a second: what has expired is told of by no bell."""
        await self._reopen()
        while True:
            try:
                await self._look()
            except Exception:  # noqa: BLE001 - named edge: the database is away; the next look tries again
                _log.exception("questions_not_shown")
            await asyncio.sleep(LOOK_EVERY_S)

    async def _reopen(self) -> None:
        """Try again, at each start, what was refused and waits yet: a person may have mended token or channel since."""
        waiting = Confirmation.filter(state=ConfirmationState.WAITING, expires_at__gt=now())
        refused = QuestionMessage.filter(platform=self._platform.name, state="refused", address__isnull=True)
        await refused.filter(confirmation_id__in=await waiting.values_list("id", flat=True)).update(state="unsent")

    async def _look(self) -> None:
        rows = QuestionMessage.filter(_is_due(), platform=self._platform.name, settled=False).exclude(state="refused")
        found = await rows.using_db(reader()).prefetch_related("confirmation").order_by("failures", "id").limit(AT_ONCE)
        at_s = time.monotonic()
        self._not_before_s = {row.id: self._not_before_s.get(row.id, 0.0) for row in found}
        for row in found:
            if at_s >= self._not_before_s[row.id]:
                await self._show(row)

    async def _show(self, row: QuestionMessage) -> None:
        state = confirmations.state_of(row.confirmation)
        content = posting.as_wanted(question_message(row.confirmation, state))
        if content.digest == row.shown_digest or not self._budget.take(time.monotonic(), urgent=True):
            return
        final = state is not ConfirmationState.WAITING
        try:
            await posting.show(self._platform, row, content, None, final=final)
        except ChatError as error:
            reason = str(error)
            _log.warning("question_not_shown", confirmation=row.confirmation_id, platform=row.platform, reason=reason)
            if isinstance(error, ChannelRefused) and row.address is None:
                await unit(partial(move_question, row, row.confirmation))
            at_s = time.monotonic()
            if error.retry_after_s is not None and error.everywhere:
                self._budget.block(at_s, error.retry_after_s)
            self._not_before_s[row.id] = at_s + posting.delay_s(error, row.failures)


def _is_due() -> Q:
    """What shows nothing yet, or that it waits although it does not any more: all others may wait as they are."""
    over = Q(confirmation__expires_at__lte=now()) | ~Q(confirmation__state=ConfirmationState.WAITING)
    return Q(shown_digest__isnull=True) | over
