"""`make bench`: every figure of docs/performance.md, each beside its anchor, as a table and as JSON lines."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable

from benchmarks import chat_load, hook_deliveries, memory, overhead, schedule_tick, start_latency

BENCHMARKS: dict[str, Callable[[], Awaitable[dict[str, object]]]] = {
    "start_latency": start_latency.measure,
    "hook_deliveries": hook_deliveries.measure,
    "overhead": overhead.measure,
    "long_log": memory.long_log,
    "many_files": memory.many_files,
    "schedule_tick": schedule_tick.measure,
    "chat_commands": chat_load.commands,
    "chat_threads": chat_load.threads,
    "chat_burst": chat_load.burst,
}


async def main(names: list[str]) -> None:
    for name in names or list(BENCHMARKS):
        print(json.dumps({"benchmark": name, **await BENCHMARKS[name]()}), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
