"""A stand-in for scontrol, for machines where Slurm can't be installed. It schedules nothing and says what it is.

Nodes and their drains are kept in a JSON file; output, exit codes and error texts are those of Slurm 22.05. The file is
also the program: it imports nothing of the package, so that it starts as fast as the real one.
"""

import fcntl
import json
import os
import pwd
import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, TypeAlias

State: TypeAlias = dict[str, Any]
"""`nodes` by name, `controller` (up, down, hung), `pending` updates of a hung one, `superuser`, `message_timeout`."""

VERSION = "stand-in for scontrol (hpc-agent demo)"
VALID_STATES = (
    "Request aborted\nValid states are: NoResp DRAIN FAIL FUTURE RESUME POWER_DOWN POWER_UP UNDRAIN\n"
    "Not all states are valid given a node's prior state"
)
NO_REASON = "You must specify a reason when DOWNING or DRAINING a node. Request denied"


class StandIn:
    """The stand-in as the demo and the tests hold it: `program` is what the agent takes for scontrol."""

    def __init__(self, directory: Path) -> None:
        self.program = directory / "scontrol"
        self._state = directory / "stand-in.json"

    @classmethod
    def create(cls, directory: Path, nodes: Sequence[str], *, message_timeout: float = 2.0) -> Self:
        """Put the program and idle nodes into `directory`; who creates it may drain, as root may in Slurm."""
        made = cls(directory)
        directory.mkdir(parents=True, exist_ok=True)
        idle = {name: {"base": "IDLE", "flags": [], "reason": "", "signed": "", "instance_id": ""} for name in nodes}
        state = {"nodes": idle, "controller": "up", "pending": [], "superuser": os.geteuid()}
        made._state.write_text(json.dumps({**state, "message_timeout": message_timeout}))
        source, python = Path(__file__).resolve(), sys.executable
        made.program.write_text(f'#!/bin/sh\nexec "{python}" -I -S "{source}" "{made._state}" "$@"\n')
        made.program.chmod(0o755)
        return made

    def change(self, name: str, **values: object) -> None:
        """Make a node what no scontrol command makes it: `base`, `flags`, `reason`, `signed`, `instance_id`."""
        with _locked(self._state) as state:
            state["nodes"][name].update(values)

    def refuse(self) -> None:
        """From now on take everybody for an ordinary user."""
        with _locked(self._state) as state:
            state["superuser"] = None

    def controller(self, condition: str) -> None:
        """Let the controller be `up`, `down` or `hung`; what a hung one was told happens when it is up again."""
        with _locked(self._state) as state:
            state["controller"] = condition
            if condition == "up":
                for name, settings, user in state["pending"]:
                    _apply(state["nodes"][name], settings, user)
                state["pending"] = []

    def node_state(self, name: str) -> str:
        """Return the node's one-line record."""
        return _record(name, _read(self._state)["nodes"][name])


class _Said(Exception):
    """What a failing scontrol says, and where."""

    def __init__(self, text: str, *, on_stdout: bool = False) -> None:
        super().__init__(text)
        self.on_stdout = on_stdout


def _read(path: Path) -> State:
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        state: State = json.load(file)
        return state


@contextmanager
def _locked(path: Path) -> Iterator[State]:
    with path.open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        state: State = json.load(file)
        try:
            yield state
        finally:
            file.seek(0)
            file.truncate()
            json.dump(state, file)


def main(path: Path, arguments: Sequence[str]) -> int:
    """Do what scontrol would do; return its exit code."""
    try:
        sys.stdout.write(_answer(path, [word for word in arguments if word not in {"-o", "--oneliner"}]))
    except _Said as said:
        stream = sys.stdout if said.on_stdout else sys.stderr
        stream.write(f"{said}\n")
        return 1
    return 0


def _answer(path: Path, words: Sequence[str]) -> str:
    match words:
        case ["--version" | "-V"]:
            return f"{VERSION}\n"
        case ["show", "hostnames", names]:
            return "".join(f"{name}\n" for name in _host_names(names))
        case ["show", "config"]:
            return _config(_reach(path, "slurm_load_ctl_conf"))
        case ["show", "node" | "nodes", *names]:
            return _show(_reach(path, "slurm_load_node"), names)
        case ["update", *settings]:
            return _update(path, settings)
    raise _Said(f"{VERSION}: it does not know {' '.join(words)!r}")


def _reach(path: Path, call: str) -> State:
    """Return the state, or fail as scontrol does when slurmctld does not answer."""
    state = _read(path)
    if state["controller"] == "down":
        time.sleep(state["message_timeout"] / 2)
        raise _Said(f"{call} error: Unable to contact slurm controller (connect failure)")
    if state["controller"] == "hung":
        time.sleep(state["message_timeout"])
        raise _Said(f"{call} error: Socket timed out on send/recv operation")
    return state


def _show(state: State, names: Sequence[str]) -> str:
    nodes = state["nodes"]
    for name in names:
        if name not in nodes:
            raise _Said(f"Node {name} not found", on_stdout=True)
    return "".join(_record(name, nodes[name]) for name in names or nodes)


def _update(path: Path, words: Sequence[str]) -> str:
    settings = {key.lower(): value for key, _, value in (word.partition("=") for word in words)}
    name, wanted, reason = (settings.get(key, "") for key in ("nodename", "state", "reason"))
    if wanted.upper() not in {"DRAIN", "UNDRAIN", "RESUME", ""}:
        raise _Said(f"Invalid input: state={wanted}\n{VALID_STATES}")
    if wanted.upper() == "DRAIN" and not reason:
        raise _Said(NO_REASON)
    state = _read(path)
    if os.geteuid() != state["superuser"] and state["controller"] == "up":
        raise _Said("slurm_update error: Invalid user id")
    if name in state["nodes"] and state["controller"] == "hung":
        with _locked(path) as waiting:
            waiting["pending"].append([name, settings, _user()])
    _reach(path, "slurm_update")
    if name not in state["nodes"]:
        raise _Said("slurm_update error: Invalid node name specified")
    with _locked(path) as current:
        _apply(current["nodes"][name], settings, _user())
    return ""


def _apply(node: State, settings: State, user: str) -> None:
    wanted, flags = settings.get("state", "").upper(), set(node["flags"])
    if wanted == "RESUME" and "DRAIN" not in flags and node["base"] != "DOWN":
        raise _Said("slurm_update error: Invalid node state specified")
    if wanted == "DRAIN":
        flags.add("DRAIN")
    if wanted in {"UNDRAIN", "RESUME"}:
        flags.discard("DRAIN")
        node["reason"] = node["signed"] = ""
    if reason := settings.get("reason"):
        node["reason"] = reason
        node["signed"] = f"{user}@{time.strftime('%Y-%m-%dT%H:%M:%S')}"
    node["flags"] = sorted(flags)


def _record(name: str, node: State) -> str:
    complete = "+".join([node["base"], *node["flags"]])
    fields = [
        f"NodeName={name} CoresPerSocket=1  CPUAlloc=0 CPUEfctv=1 CPUTot=1 CPULoad=0.00",
        "AvailableFeatures=(null) ActiveFeatures=(null) Gres=(null)",
        f"NodeAddr={name} NodeHostName={name}  RealMemory=1 AllocMem=0 FreeMem=N/A Sockets=1 Boards=1",
        f"State={complete} ThreadsPerCore=1 TmpDisk=0 Weight=1 Owner=N/A MCS_label=N/A Partitions=p ",
        "BootTime=None SlurmdStartTime=None LastBusyTime=Unknown CfgTRES=cpu=1,mem=1M,billing=1 AllocTRES=",
    ]
    if node["reason"]:
        first, *more = node["reason"].split("\n")
        fields.append(f"Reason={first} [{node['signed']}]" + "".join(f"{' ' * 8}{line}" for line in more if line))
    if node["instance_id"]:
        fields.append(f"InstanceId={node['instance_id']} ")
    return " ".join(fields) + "\n"


def _config(state: State) -> str:
    values = {
        "BatchStartTimeout": "10 sec",
        "ClusterName": "stand-in",
        "Epilog": "(null)",
        "KillWait": "30 sec",
        "MessageTimeout": f"{state['message_timeout']:g} sec",
        "PrologEpilogTimeout": "65534",
        "SlurmctldHost[0]": "localhost",
    }
    lines = [f"{key:<23} = {value}" for key, value in values.items()]
    return "\n".join([f"Configuration data of the {VERSION}", *lines, "", "Slurmctld(primary) at localhost is UP", ""])


def _host_names(expression: str) -> Iterator[str]:
    """Expand `n[1-3,07],m`."""
    for prefix, ranges, plain in re.findall(r"([^,\[]+)\[([^\]]+)\]|([^,\[]+)", expression):
        if plain:
            yield plain
        for part in filter(None, ranges.split(",")):
            low, _, high = part.partition("-")
            yield from (f"{prefix}{number:0{len(low)}}" for number in range(int(low), int(high or low) + 1))


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return "nobody"


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
