"""The story on real Slurm nodes in namespaces, each with its own IMDS, network and /scratch."""

import os
import subprocess
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from agent.demo.cluster import Cluster
from agent.demo.scene import DOOMED, INSTANCES, JOB, OTHER, Curtain, SceneFailed, ask_status
from agent.demo.stage import AGENT, REGION, SOCKET, Bucket, Instance

JOB_SECONDS: Final = 60.0
"""For a job to start and to write its files."""


SETTINGS = "[slurm]\nrequeue = false\n"
"""The job stays for the whole story: its node is saved at once instead of as late as can be."""


class SlurmScene(Curtain):
    """Two nodes and a head. Needs what `Cluster.available` asks for."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self._directory = directory
        self.logs = [directory / "shared/log", directory / "shared/s3/log"]
        self.target = "/scratch"
        self.cast = [
            "real:   Slurm (slurmctld and two nodes), an S3 server (SeaweedFS), hpc-agent",
            "played: EC2. Each node is a network namespace with its own 169.254.169.254",
        ]

    def set_up(self, megabytes: int) -> None:
        room = f"{megabytes + megabytes // 4 + 64}m"
        self._lab = self.undo.enter_context(Cluster.up(self._directory, len(INSTANCES), scratch=room))
        self._bucket = Bucket(self._lab)
        self.undo.callback(self._bucket.stop)
        self._bucket.start()
        self._bucket.make()
        self._instances = {name: self._instance(name) for name in INSTANCES}

    def _instance(self, name: str) -> Instance:
        instance = Instance(self._lab, name, instance_id=INSTANCES[name], bucket=self._bucket, settings=SETTINGS)
        self.undo.callback(instance.end)
        return instance.__enter__()

    def work(self, files: int, megabytes: int) -> str:
        home = self._lab.shared / "home"
        script = home / "job.sh"
        script.write_text(JOB.read_text())
        script.chmod(0o755)
        command = ["sbatch", "--parsable", "--nodelist", DOOMED, "--output", "/shared/home/job.out"]
        command += ["/shared/home/job.sh", "/scratch/run-1", str(files), str(megabytes), "/shared/home/ready"]
        number = self._lab.run("head", command, user="alice", cwd="/shared/home", check=True).stdout.strip()
        end = time.monotonic() + JOB_SECONDS
        while not (home / "ready").exists():
            if time.monotonic() > end:
                said = (home / "job.out").read_text(errors="replace") if (home / "job.out").exists() else "nothing"
                raise SceneFailed("wait for", f"job {number}", f"no files after {JOB_SECONDS:g} s; it said: {said}")
            time.sleep(0.05)
        return f"Slurm job {number} of user alice"

    def notice(self, seconds: int) -> tuple[float, float]:
        shown = self._instances[DOOMED].imds.interrupt("terminate", datetime.now(UTC) + timedelta(seconds=seconds))
        return shown["mono"], shown["mono"] + seconds

    def record(self) -> str:
        return self._lab.node_state(DOOMED)

    def status(self) -> dict[str, Any] | None:
        return ask_status(self._lab.inside(DOOMED, SOCKET))

    def kill(self) -> str:
        self._lab.kill(DOOMED)
        return "its processes, its network, its /scratch"

    def scratch(self, node: str) -> Path:
        return self._lab.inside(node, "/scratch")

    def restore(self, options: Sequence[str], *, live: bool) -> tuple[int, str]:
        terminal = {name: os.environ[name] for name in ("TERM", "NO_COLOR", "COLUMNS") if name in os.environ}
        child = self._lab.popen(
            OTHER,
            [*AGENT, "restore", *options, "--to", self.target],
            env={"AWS_ENDPOINT_URL_S3": self._bucket.endpoint, "AWS_REGION": REGION, **terminal},
            stdout=subprocess.PIPE,
            stderr=None if live else subprocess.STDOUT,
        )
        out, _ = child.communicate()
        return child.returncode, out
