"""A scene without actors: two directories, and an agent whose status documents are given beforehand."""

import os
import time

RECORD = "NodeName=n1 State=IDLE+DRAIN Reason=hpc-agent: spot-terminate i-0 boot=0badcafe until=X [root@now]"


class FakeScene:
    """`statuses` are what the agent says, the last one for ever; a restore moves what `keeps` lets through."""

    cast = ("played: everything",)
    logs = ()
    target = "/scratch"

    def __init__(self, directory, statuses, *, keeps=lambda name: True, restore_code=0):
        self._places = {name: directory / name for name in ("n1", "n2")}
        self._statuses = list(statuses)
        self._keeps = keeps
        self._restore_code = restore_code
        self.restored_with = None
        self.killed = False

    def set_up(self, megabytes):
        for place in self._places.values():
            place.mkdir()

    def work(self, files, megabytes):
        for number in range(files):
            (self._places["n1"] / f"file-{number}").write_text(str(number))
        return "a job"

    def notice(self, seconds):
        now = time.monotonic()
        return now, now + seconds

    def record(self):
        return RECORD

    def status(self):
        return self._statuses.pop(0) if len(self._statuses) > 1 else self._statuses[0]

    def kill(self):
        self.killed = True
        return "all"

    def scratch(self, node):
        return self._places[node]

    def restore(self, options, *, live):
        self.restored_with = options
        before, after = self._places["n1"], self._places["n2"]
        times = before.stat()
        for file in filter(lambda file: self._keeps(file.name), sorted(before.iterdir())):
            file.rename(after / file.name)
        os.utime(after, ns=(times.st_atime_ns, times.st_mtime_ns))
        return self._restore_code, "what it said"
