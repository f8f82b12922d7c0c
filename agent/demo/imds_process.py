"""The embedded IMDS as a process of its own, driven over a unix socket: one JSON command per line, one JSON answer."""

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from agent.clock import SystemClock, parse_stamp, stamp
from agent.demo.imds import EmbeddedImds, Fault
from agent.demo.imds_tree import Machine

Command = Mapping[str, Any]


async def obey(imds: EmbeddedImds, command: Command) -> dict[str, Any]:
    """Do what `command` says ("do" names it); return what it has to say. Raises ValueError, KeyError or TypeError."""
    match command["do"]:
        case "interrupt":
            imds.interrupt(command.get("action", "terminate"), _time(command.get("at")))
        case "withdraw":
            imds.withdraw()
        case "fault":
            kind = command.get("kind")
            await imds.fault(None if kind is None else Fault(kind), below=command.get("below", ""))
        case "set":
            _set(imds, command["path"], command["value"])
        case "skew":
            imds.skew = float(command["seconds"])
        case "credentials":
            imds.credentials(command["access_key"], command["secret"], command["token"])
        case "forget-tokens":
            imds.forget_tokens()
        case "log":
            return {"log": [asdict(asked) for asked in imds.log]}
        case other:
            raise ValueError(f"no such command: {other!r}")
    return {}


def _time(text: str | None) -> datetime | None:
    return None if text is None else parse_stamp(text)


def _set(imds: EmbeddedImds, path: str, value: str | None) -> None:
    if value is None:
        imds.paths.pop(path, None)
    else:
        imds.paths[path] = value


async def answer(imds: EmbeddedImds, line: bytes) -> dict[str, Any]:
    """Return the reply to one line: "ok", when it was done (`loop.time()` and wall), and what the command says."""
    try:
        said = await obey(imds, json.loads(line))
    except (ValueError, KeyError, TypeError) as error:
        return {"ok": False, "error": repr(error)}
    return {"ok": True, "mono": asyncio.get_running_loop().time(), "wall": stamp(SystemClock().now()), **said}


def conversation(imds: EmbeddedImds) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]:
    """Return the handler of one connection to the control socket."""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while line := await reader.readline():
                writer.write(json.dumps(await answer(imds, line)).encode() + b"\n")
                await writer.drain()
        writer.close()

    return converse


async def serve(arguments: argparse.Namespace) -> None:
    """Run until SIGTERM or SIGINT; one line on standard output says that it listens."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    imds = EmbeddedImds(
        Machine(
            instance_id=arguments.instance_id,
            instance_type=arguments.instance_type,
            life_cycle=arguments.life_cycle,
            region=arguments.region,
        )
    )
    await imds.start(arguments.host, arguments.port)
    server = await asyncio.start_unix_server(conversation(imds), arguments.control)
    arguments.control.chmod(0o600)
    sys.stdout.write(json.dumps({"endpoint": imds.endpoint}) + "\n")
    sys.stdout.flush()
    await stopped.wait()
    server.close()
    await imds.stop()
    arguments.control.unlink(missing_ok=True)


def main() -> None:
    """Parse the command line and serve."""
    usual = Machine()
    parser = argparse.ArgumentParser(prog="python -m agent.demo.imds", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--control", type=Path, required=True, help="path of the unix socket")
    parser.add_argument("--instance-id", default=usual.instance_id)
    parser.add_argument("--instance-type", default=usual.instance_type)
    parser.add_argument("--life-cycle", default=usual.life_cycle)
    parser.add_argument("--region", default=usual.region)
    asyncio.run(serve(parser.parse_args()))
