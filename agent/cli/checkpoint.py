"""`hpc-agent checkpoint`: save the scratch now, by the daemon, or a directory without one."""

import argparse
import os
import time
from collections.abc import Mapping
from typing import Any, Final

from agent.cli import socket
from agent.cli.exits import Exit
from agent.cli.output import document, note, say, size, span, unwalked
from agent.cli.progress import display
from agent.errors import SettingsInvalid
from agent.model.progress import Progress

PATIENCE: Final = 600.0
"""Seconds without a word from a daemon that is making a checkpoint."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--standalone", action="store_true", help="without a daemon; needs --from and --to")
    parser.add_argument("--from", dest="source", metavar="DIR", help="what to save (with --standalone)")
    parser.add_argument("--to", metavar="s3://BUCKET/PREFIX", help="where to (with --standalone)")
    parser.add_argument("--json", action="store_true", help="print the result as a JSON document, no progress")


def run(chosen: argparse.Namespace) -> int:
    began = time.monotonic()
    if chosen.standalone:
        if not chosen.source or not chosen.to:
            raise SettingsInvalid(
                "make", "a standalone checkpoint", "expected both --from DIR and --to s3://BUCKET/PREFIX"
            )
        from agent.cli.standalone import save

        saved = save(chosen)
    else:
        if chosen.source or chosen.to:
            raise SettingsInvalid("make", "a checkpoint", "--from and --to need --standalone")
        saved = _by_daemon(socket.place(chosen.config, os.environ), quiet=chosen.json)
    return _tell(saved, seconds=time.monotonic() - began, as_json=chosen.json)


def _by_daemon(path: str, *, quiet: bool) -> Mapping[str, Any]:
    with display("saving", quiet=quiet) as shown:
        for answer in socket.follow(path, {"op": "checkpoint"}, seconds=PATIENCE):
            if "result" in answer:
                return dict(answer["result"])
            if "progress" in answer:
                shown.show(Progress(**answer["progress"]))
    raise AssertionError("follow raises when the answers end")


def _tell(saved: Mapping[str, Any], *, seconds: float, as_json: bool) -> int:
    """Print what a commit says (`agent.checkpoint.head.commit_document`, and `trouble`) and return the exit code."""
    totals, left = saved["totals"], saved["left"]
    outcome = "COMPLETE" if saved["complete"] else "PARTIAL"
    if as_json:
        document(
            {
                "schema": 1,
                "checkpoint_id": saved["checkpoint"],
                "outcome": outcome,
                "files": totals["files"],
                "bytes": totals["bytes"],
                "seconds": round(seconds, 3),
                **{name: saved[name] for name in ("n", "key", "digest", "created_at", "totals", "left")},
                "trouble": list(saved.get("trouble", ())),
            }
        )
    else:
        say(f"{saved['checkpoint']}  {outcome}  {totals['files']:,} files, {size(totals['bytes'])}, {span(seconds)}")
        for trouble in saved.get("trouble", ()):
            note(trouble)
        if left["files"]:
            note(f"left behind: {left['files']:,} files, {size(left['bytes'])}")
        if left.get("seen") is not None:
            note(unwalked(left["seen"]))
    return Exit.DONE if saved["complete"] else Exit.INCOMPLETE
