"""An embedded IMDSv2, driven at run time: notices, withdrawal, faults. As strict about tokens as the real one.

`python -m agent.demo.imds --host 169.254.169.254 --port 80 --control PATH` runs it as a process inside a network
namespace; `agent.demo.imds_control` drives that one.
"""

import asyncio
import re
import secrets
from collections import deque
from collections.abc import Mapping
from datetime import datetime, timedelta
from email.utils import format_datetime
from enum import StrEnum
from http import HTTPStatus
from typing import Final

from aiohttp import web

from agent.clock import Clock, SystemClock
from agent.demo import imds_tree
from agent.demo.imds_tree import Leaf, Machine
from agent.value import value

TTL_HEADER: Final = "X-aws-ec2-metadata-token-ttl-seconds"
TOKEN_HEADER: Final = "X-aws-ec2-metadata-token"  # noqa: S105 - the name of a header
LONGEST_TOKEN: Final = 21600
TOKEN_PATH: Final = "/latest/api/token"  # noqa: S105 - a path
LOG_LENGTH: Final = 10_000

_HTML: Final = "<html><head><title>Login</title></head><body>Welcome to the hotel network</body></html>\n"
_HALF_A_NOTICE: Final = '{"action": "terminate", "ti'


class Fault(StrEnum):
    """What can be wrong with it. UNAUTHORIZED gives out tokens and refuses them, for ever."""

    UNAUTHORIZED = "401"
    FORBIDDEN = "403"
    THROTTLED = "429"
    ERROR = "500"
    UNAVAILABLE = "503"
    HANG = "hang"
    GARBAGE = "garbage"
    TRUNCATED = "truncated"
    CUT = "cut"
    REFUSE = "refuse"


@value
class Asked:
    """One request: its wall time (seconds since 1970), `loop.time()`, and the status of the answer (0: none)."""

    at: float
    mono: float
    method: str
    path: str
    status: int


class EmbeddedImds:
    """Listens between `start` and `stop`; everything else may be changed at any time.

    `paths` maps a path below /latest/ to its value, or to a function that makes it. `skew`, in seconds, is added to the
    wall clock in every `Date` header.
    """

    def __init__(self, machine: Machine | None = None, *, clock: Clock | None = None) -> None:
        self.paths: dict[str, Leaf] = imds_tree.metadata(machine or Machine())
        self.skew = 0.0
        self._clock = clock or SystemClock()
        self._tokens: dict[str, float] = {}
        self._asked: deque[Asked] = deque(maxlen=LOG_LENGTH)
        self._fault: Fault | None = None
        self._fault_below = ""
        self._fault_over = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self._address = ("127.0.0.1", 0)

    @property
    def endpoint(self) -> str:
        """The form of AWS_EC2_METADATA_SERVICE_ENDPOINT."""
        host, port = self._address
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    @property
    def log(self) -> list[Asked]:
        """The last requests, oldest first."""
        return list(self._asked)

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; port 0 is any free one, and is kept over the fault REFUSE."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        # A hung request must not hold up stop(): handlers end with their client, and are not waited for.
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, host, port).start()
        self._runner = runner
        self._address = (host, runner.addresses[0][1])

    async def stop(self) -> None:
        """Close the listener and every connection. May be called twice."""
        if self._runner is not None:
            runner, self._runner = self._runner, None
            await runner.cleanup()

    def interrupt(self, action: str = "terminate", at: datetime | None = None) -> None:
        """Show the Spot notice; EC2 takes the instance at `at`, two minutes from now unless said otherwise."""
        at = at or self._clock.now() + timedelta(minutes=2)
        self.paths[imds_tree.INSTANCE_ACTION] = imds_tree.action_text(action, at)
        self.paths[imds_tree.TERMINATION_TIME] = imds_tree.seconds_text(at)

    def withdraw(self) -> None:
        """Take the Spot notice back."""
        self.paths.pop(imds_tree.INSTANCE_ACTION, None)
        self.paths.pop(imds_tree.TERMINATION_TIME, None)

    def credentials(
        self, access_key: str, secret: str, token: str, *, role: str = "hpc-node", seconds: float = LONGEST_TOKEN
    ) -> None:
        """Give the instance a role; its credentials always end `seconds` after they are asked for."""
        self.paths[f"{imds_tree.CREDENTIALS}/{role}"] = lambda: imds_tree.credentials_text(
            access_key, secret, token, now=self._clock.now(), seconds=seconds
        )

    def forget_tokens(self) -> None:
        """Make every token given out so far invalid, as a stop and start of the instance does."""
        self._tokens.clear()

    async def fault(self, kind: Fault | None, *, below: str = "") -> None:
        """Be faulty from now on, for GETs below the path `below` only if that is given; None: be well again."""
        was_closed = self._fault is Fault.REFUSE
        self._fault = kind
        self._fault_below = below
        self._fault_over.set()
        self._fault_over = asyncio.Event()
        if kind is Fault.REFUSE:
            await self.stop()
        elif was_closed:
            await self.start(*self._address)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        response = await self._faulty(request) if self._is_hit(request) else self._answer(request)
        self._asked.append(
            Asked(
                at=self._clock.now().timestamp(),
                mono=asyncio.get_running_loop().time(),
                method=request.method,
                path=request.path,
                status=0 if request.transport is None or request.transport.is_closing() else response.status,
            )
        )
        return response

    def _is_hit(self, request: web.Request) -> bool:
        if self._fault is None:
            return False
        if self._fault_below:
            return _below_version(request.path).startswith(self._fault_below)
        spares_tokens = self._fault in {Fault.UNAUTHORIZED, Fault.TRUNCATED, Fault.CUT}
        return not (spares_tokens and request.path == TOKEN_PATH)

    async def _faulty(self, request: web.Request) -> web.StreamResponse:
        match self._fault:
            case Fault.HANG:
                await self._fault_over.wait()
                return _hung_up(request, self._text(HTTPStatus.SERVICE_UNAVAILABLE))
            case Fault.GARBAGE:
                return self._text(HTTPStatus.OK, _HTML)
            case Fault.TRUNCATED:
                whole = imds_tree.lookup(self.paths, _below_version(request.path))
                return self._text(HTTPStatus.OK, _HALF_A_NOTICE if whole is None else whole[: len(whole) // 2])
            case Fault.CUT:
                response = web.StreamResponse(headers={"Content-Length": "4096", "Date": self._date()})
                await response.prepare(request)
                await response.write(_HALF_A_NOTICE.encode())
                return _hung_up(request, response)
            case _:
                return self._text(HTTPStatus(int(self._fault or HTTPStatus.INTERNAL_SERVER_ERROR)))

    def _answer(self, request: web.Request) -> web.Response:
        if request.method == "PUT":
            return self._new_token(request)
        if request.method not in {"GET", "HEAD"}:
            return self._text(HTTPStatus.METHOD_NOT_ALLOWED)
        left = self._tokens.get(request.headers.get(TOKEN_HEADER, ""), 0) - asyncio.get_running_loop().time()
        if left <= 0:
            return self._text(HTTPStatus.UNAUTHORIZED)
        value = imds_tree.lookup(self.paths, _below_version(request.path))
        headers = {TTL_HEADER: str(int(left))}
        if value is None:
            return self._text(HTTPStatus.NOT_FOUND, headers=headers)
        return self._text(HTTPStatus.OK, value, headers=headers)

    def _new_token(self, request: web.Request) -> web.Response:
        if "X-Forwarded-For" in request.headers or request.path != TOKEN_PATH:
            return self._text(HTTPStatus.FORBIDDEN)
        asked = request.headers.get(TTL_HEADER, "")
        if not re.fullmatch(r"[0-9]{1,5}", asked) or not 1 <= int(asked) <= LONGEST_TOKEN:
            return self._text(HTTPStatus.BAD_REQUEST)
        token = secrets.token_urlsafe(40)
        self._tokens[token] = asyncio.get_running_loop().time() + int(asked)
        return self._text(HTTPStatus.OK, token, headers={TTL_HEADER: asked})

    def _text(
        self, status: HTTPStatus, text: str | None = None, headers: Mapping[str, str] | None = None
    ) -> web.Response:
        body = f"<html><body><h1>{status} - {status.phrase}</h1></body></html>\n" if text is None else text
        headers = {"Date": self._date(), "Server": "EC2ws", **(headers or {})}
        return web.Response(status=status, text=body, headers=headers, content_type="text/plain")

    def _date(self) -> str:
        return format_datetime(self._clock.now() + timedelta(seconds=self.skew), usegmt=True)


def _below_version(path: str) -> str:
    """Every version of the API shows the same tree here."""
    _, _, rest = path.lstrip("/").partition("/")
    return rest


def _hung_up(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.close()
    return response


if __name__ == "__main__":
    from agent.demo.imds_process import main

    main()
