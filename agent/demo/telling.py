"""The story itself, step by step: a notice, a drain, a rescue, the end of a node, its files on another one."""

import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from agent import __version__
from agent.demo import manifest
from agent.demo.manifest import NOT_STORED, Difference, Manifest
from agent.demo.narration import Narrator, Pace
from agent.demo.rescue import Rescue, Status
from agent.demo.scene import DOOMED, OTHER, Scene, SceneFailed
from agent.demo.timeline import Times, size, summary, table
from agent.value import value

SHOWN: Final = 10
"""Differences that are told one by one."""
LOOK_EVERY: Final = 0.05
"""Seconds between two looks at Slurm or at the agent: how exact the timeline is."""
DRAIN_SECONDS: Final = 30.0


@value
class Size:
    """How large the story is: small files, megabytes in all, seconds that the notice gives (EC2: 120)."""

    files: int = 3000
    megabytes: int = 300
    seconds: int = 120


class Telling:
    """Plays the story on `scene` and tells it to `narrator`."""

    def __init__(self, scene: Scene, narrator: Narrator, wanted: Size) -> None:
        self._scene = scene
        self._narrator = narrator
        self._wanted = wanted

    def tell(self) -> int:
        """Return 0 when every byte came back, else 1. Raises an AgentError when the story can't go on."""
        self._introduce()
        self._set_the_stage()
        before = self._work()
        noticed, ends = self._notice()
        drained = self._drain(noticed)
        rescue = self._save(ends)
        self._kill()
        self._restore(rescue)
        found = self._compare(before)
        self._tell_times(rescue, noticed=noticed, drained=drained, ends=ends)
        return self._judge(rescue, found)

    def _introduce(self) -> None:
        self._narrator.line(f"hpc-agent {__version__}: the demo", style="bold")
        for line in self._scene.cast:
            self._narrator.line(line)
        self._narrator.line()

    def _set_the_stage(self) -> None:
        began = time.monotonic()
        with self._narrator.busy("starting nodes, S3 and agents"):
            self._scene.set_up(self._wanted.megabytes)
        took = time.monotonic() - began
        self._narrator.step("Stage", f"nodes {DOOMED} and {OTHER}, each with IMDS and agent, and S3: {took:.1f} s")

    def _work(self) -> Manifest:
        with self._narrator.busy("a job fills the scratch"):
            job = self._scene.work(self._wanted.files, self._wanted.megabytes)
            before = manifest.read(self._scene.scratch(DOOMED))
        self._narrator.step("Job", f"{job} runs on {DOOMED} and has written")
        for line in contents(before):
            self._narrator.more(line)
        return before

    def _notice(self) -> tuple[float, float]:
        noticed, ends = self._scene.notice(self._wanted.seconds)
        until = datetime.now(UTC) + timedelta(seconds=ends - time.monotonic())
        self._narrator.step("Notice", f"EC2 takes {DOOMED} in {self._wanted.seconds} s, at {until:%H:%M:%S} UTC")
        return noticed, ends

    def _drain(self, noticed: float) -> float:
        def look() -> str:
            self._status()
            return self._scene.record()

        record = look_until(look, lambda record: "DRAIN" in state_of(record), "the drain", DRAIN_SECONDS)
        drained = time.monotonic()
        self._narrator.step("Drain", f"after {drained - noticed:.2f} s; scontrol show node {DOOMED} says")
        self._narrator.more(f"State={state_of(record)}", style="yellow")
        self._narrator.wrapped(f"Reason={reason_of(record)}", style="yellow")
        return drained

    def _save(self, ends: float) -> Rescue:
        """Watch until the agent is done or EC2 takes the node, whichever comes first."""
        rescue, pace = Rescue(), Pace()
        with self._narrator.bar("Copy") as show:
            while not rescue.is_over and (now := time.monotonic()) < ends:
                rescue.see(self._status(), now)
                if progress := rescue.status["progress"]:
                    done, total = progress["bytes_done"], progress["bytes_total"]
                    words = pace.words(done, total, progress["files_done"], progress["files_total"])
                    show(done, total if progress["walked"] else 0, words)
                time.sleep(LOOK_EVERY)
        self._tell_commit(rescue)
        return rescue

    def _status(self) -> Status:
        status = self._scene.status()
        if status is None:
            raise SceneFailed("ask", f"the agent of {DOOMED}", "it does not answer")
        return status

    def _tell_commit(self, rescue: Rescue) -> None:
        checkpoint = rescue.status["checkpoint"]
        if checkpoint is None:
            raise SceneFailed("save", DOOMED, f"{rescue.outcome}: {rescue.trouble}")
        self._narrator.step("Commit", f"checkpoint {checkpoint['id']}, {rescue.outcome}")
        if checkpoint["left_files"]:
            left = f"{checkpoint['left_files']:,} files, {size(checkpoint['left_bytes'])}"
            self._narrator.more(f"left behind: {left}", style="red")

    def _kill(self) -> None:
        self._narrator.step("Kill", f"{DOOMED} is gone: {self._scene.kill()}")

    def _restore(self, rescue: Rescue) -> None:
        options = ["--latest", "--node", DOOMED, *([] if rescue.is_complete else ["--any"])]
        self._narrator.step("Restore", f"{OTHER}# hpc-agent restore {' '.join(options)} --to {self._scene.target}")
        began = time.monotonic()
        code, said = self._scene.restore(options, live=self._narrator.moves)
        if code != 0 and rescue.is_complete:
            raise SceneFailed("restore", f"on {OTHER}", f"exit code {code}: {said.strip()[-1000:]}")
        self._narrator.more(f"done in {time.monotonic() - began:.1f} s")

    def _compare(self, before: Manifest) -> list[Difference]:
        with self._narrator.busy("comparing every byte"):
            after = manifest.read(self._scene.scratch(OTHER))
        found = manifest.differences(before, after)
        if found:
            self._narrator.step("Compare", f"{len(found):,} of {len(before):,} paths differ")
            for each in found[:SHOWN]:
                self._narrator.more(f"{ascii(each.path)[1:]}: {each.what}", style="red")
        else:
            self._narrator.step("Compare", f"{len(before):,} paths: bytes, modes, owners, times (ns), links: all equal")
        if any(entry.kind in NOT_STORED for entry in before.values()):
            self._narrator.more("(a FIFO holds no data: it is recorded, not restored)")
        return found

    def _tell_times(self, rescue: Rescue, *, noticed: float, drained: float, ends: float) -> None:
        times = Times(
            noticed=noticed,
            drained=drained,
            last_byte=rescue.last_byte,
            committed=rescue.committed,
            ends=ends,
            copied_bytes=rescue.sent,
        )
        self._narrator.line()
        for line in (*table(times), summary(times)):
            self._narrator.line(line)
        self._narrator.line()

    def _judge(self, rescue: Rescue, found: Sequence[Difference]) -> int:
        if rescue.is_complete and not found:
            self._narrator.line(f"PASS: what the job had written is on {OTHER}, identical", style="bold green")
            return 0
        self._narrator.line(f"FAIL: the outcome is {rescue.outcome}; {len(found):,} paths differ", style="bold red")
        return 1


def look_until(look: Callable[[], str], reached: Callable[[str], bool], what: str, seconds: float) -> str:
    """Return the first thing seen for which `reached` holds. Raises SceneFailed."""
    end = time.monotonic() + seconds
    while not reached(seen := look()):
        if time.monotonic() > end:
            raise SceneFailed("wait for", what, f"not within {seconds:.0f} s; last seen: {seen[:1000]}")
        time.sleep(LOOK_EVERY)
    return seen


def contents(tree: Manifest) -> list[str]:
    """Return in two lines what a tree holds."""
    kinds = Counter(entry.kind for entry in tree.values())
    files = ((path, entry) for path, entry in tree.items() if entry.kind == "file")
    held = sum(entry.size for path, entry in files if path == min(entry.links, default=path))
    others = [f"{kinds['directory']} directories", f"{kinds['link']} symbolic links", f"{kinds['FIFO']} FIFO"]
    return [
        f"{kinds['file']:,} files, {size(held)}, {', '.join(others)};",
        "among them hard links, odd names, empty directories, old times",
    ]


def state_of(record: str) -> str:
    """Return the node's state from a record of `scontrol show node -o`."""
    found = re.search(r" State=(\S+)", record)
    return found.group(1) if found else ""


def reason_of(record: str) -> str:
    """Return the drain's reason from such a record, and who gave it when."""
    found = re.search(r" Reason=(.*? \[\S+\])", record)
    return found.group(1) if found else ""
