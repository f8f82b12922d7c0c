"""An executor whose threads nobody waits for: a question to a dead file system must not keep the doctor from ending."""

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class ForgettableThreads(Executor):
    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        threading.Thread(target=_answer, args=(future, lambda: fn(*args, **kwargs)), daemon=True).start()
        return future


def _answer(future: Future[T], question: Callable[[], T]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(question())
    except BaseException as error:  # noqa: BLE001 - whatever it was belongs to who asked, as in every executor
        future.set_exception(error)
