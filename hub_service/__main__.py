"""`python -m hub_service`: starts the worker, and starts it again when it dies.

The hub looks after a service only every 30 seconds; people who are waiting for a kernel should not
notice. This parent is small so that there is little in it that could fail.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time

EXIT_CONFIGURATION = 78  # of the worker: trying again is no use
FIRST_DELAY = 0.1
MOST_DELAY = 10.0
LONG_ENOUGH = 60.0  # a worker that ran this long failed for a new reason
STOP_WITHIN = 10.0


async def supervise() -> int:
    """Keep a worker running until SIGTERM or SIGINT; the exit status."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    delay = FIRST_DELAY
    while True:
        started = time.monotonic()
        status = await run_worker(stopping)
        if stopping.is_set():
            return 0
        if status == EXIT_CONFIGURATION:
            return status
        if time.monotonic() - started > LONG_ENOUGH:
            delay = FIRST_DELAY
        print(  # noqa: T201 - the hub's log
            f"hub_service: the worker ended with status {status}; again in {delay:.1f} s",
            file=sys.stderr,
            flush=True,
        )
        try:
            await asyncio.wait_for(stopping.wait(), delay)
        except TimeoutError:
            delay = min(delay * 2, MOST_DELAY)
        else:
            return 0


async def run_worker(stopping: asyncio.Event) -> int:
    """Run one worker to its end, or end it when `stopping` is set; its exit status.

    Its standard input is a pipe that nothing is written to: when this process dies, it closes.
    """
    worker = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "hub_service.app", stdin=asyncio.subprocess.PIPE
    )
    ended = asyncio.create_task(worker.wait())
    stop = asyncio.create_task(stopping.wait())
    await asyncio.wait({ended, stop}, return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()
    if not ended.done():
        worker.terminate()
        try:
            await asyncio.wait_for(asyncio.shield(ended), STOP_WITHIN)
        except TimeoutError:
            worker.kill()
    return await ended


if __name__ == "__main__":
    sys.exit(asyncio.run(supervise()))
