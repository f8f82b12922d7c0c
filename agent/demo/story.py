"""`hpc-agent demo` from the outside: where the story is played, what it leaves behind, how it ends."""

import argparse
import contextlib
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from agent.demo.cluster import Cluster
from agent.demo.narration import Narrator
from agent.demo.scene import Scene
from agent.demo.scene_plain import PlainScene
from agent.demo.scene_slurm import SlurmScene
from agent.demo.telling import Size, Telling

ENDINGS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LONGEST: Final = 60
"""Characters of a temporary directory: paths of sockets have to fit into 107."""


def arguments(parser: argparse.ArgumentParser) -> None:
    usual = Size()
    parser.add_argument("--files", type=_count, default=usual.files, metavar="N", help="small files to save (3000)")
    parser.add_argument("--megabytes", type=_count, default=usual.megabytes, metavar="N", help="bytes in all (300)")
    parser.add_argument("--seconds", type=_count, default=usual.seconds, metavar="N", help="the notice's window (120)")
    parser.add_argument("--stand-in", action="store_true", help="without Slurm, even where it could run")
    parser.add_argument("--keep", action="store_true", help="keep the logs and say where they are")


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError("expected a number from 1")
    return count


def main(chosen: argparse.Namespace) -> int:
    """Tell the story; return 0 when everything came back as it was. At most logs stay behind, and only of a failure."""
    narrator = Narrator(sys.stdout)
    wanted = Size(files=chosen.files, megabytes=chosen.megabytes, seconds=chosen.seconds)
    with _tidy() as directory, _scene(directory, stand_in=chosen.stand_in) as scene:
        try:
            code = Telling(scene, narrator, wanted).tell()
        except Exception as error:
            if _is_told_to_end():  # what fails then has failed for that: the terminal may be gone
                raise KeyboardInterrupt from error
            _keep_logs(scene, narrator)
            raise
        if code or chosen.keep:
            _keep_logs(scene, narrator)
        return code


def _scene(directory: Path, *, stand_in: bool) -> Scene:
    why = "as asked for" if stand_in else Cluster.available()
    return PlainScene(directory, why) if why else SlurmScene(directory)


@contextlib.contextmanager
def _tidy() -> Iterator[Path]:
    """Give a directory and remove it. The first signal ends the story; none disturbs what is tidied up after it."""
    former = {number: signal.signal(number, _end) for number in ENDINGS}
    usual = tempfile.gettempdir()
    directory = Path(tempfile.mkdtemp(prefix="hpc-agent-demo-", dir=usual if len(usual) <= LONGEST else "/tmp"))  # noqa: S108 - made safely
    try:
        yield directory
    finally:
        _deaf()
        shutil.rmtree(directory, ignore_errors=True)
        for number, handler in former.items():
            signal.signal(number, handler)


def _end(*_: object) -> None:
    _deaf()
    raise KeyboardInterrupt


def _deaf() -> None:
    for number in ENDINGS:
        signal.signal(number, signal.SIG_IGN)


def _is_told_to_end() -> bool:
    return signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def _keep_logs(scene: Scene, narrator: Narrator) -> None:
    found = [log for log in scene.logs if log.exists()]
    if not found:
        return
    kept = Path(tempfile.mkdtemp(prefix="hpc-agent-demo-logs-"))
    for log in found:
        if log.is_dir():
            shutil.copytree(log, kept, dirs_exist_ok=True)
        else:
            shutil.copy(log, kept / f"{log.parent.name}-{log.name}")
    kept.chmod(0o700)
    narrator.line(f"The logs are in {kept}")
