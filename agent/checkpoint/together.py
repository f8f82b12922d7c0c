"""Tasks and blocking jobs side by side: they fail as one, and none is left behind."""

import asyncio
import functools
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")


@contextmanager
def one_error() -> Iterator[None]:
    """Raise, in place of the ExceptionGroup of a TaskGroup inside, the first error that is in it."""
    try:
        yield
    except ExceptionGroup as group:
        raise _first(group) from group


async def blocking(executor: Executor, job: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Run a blocking job in the executor; when cancelled, only go once it has ended: it may be using a descriptor."""
    running = asyncio.get_running_loop().run_in_executor(executor, functools.partial(job, *args, **kwargs))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise


async def bounded(executor: Executor, job: Callable[[], _T], seconds: float) -> _T:
    """Run a blocking job for at most `seconds`, after which it is left behind. Raises TimeoutError.

    When cancelled, only go once it has ended or its time is over: what comes next may write the same file.
    """
    loop = asyncio.get_running_loop()
    running, ends = loop.run_in_executor(executor, job), loop.time() + seconds
    try:
        await asyncio.wait([running], timeout=seconds)
        if not running.done():
            raise TimeoutError
        return running.result()
    except asyncio.CancelledError:
        await asyncio.wait([running], timeout=max(0.0, ends - loop.time()))
        raise
    finally:
        if not running.cancel() and not running.cancelled():
            running.exception()  # nobody else asks for it when we were cancelled


def _first(error: Exception) -> Exception:
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
