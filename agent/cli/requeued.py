"""What Slurm says of a job that starts again on this node, and how long its Prolog may take."""

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from agent.chance import SystemChance
from agent.cli.homecoming import Homecoming, NotRestored, Rank, rights_of
from agent.jobs.choice import Result, rank_of
from agent.jobs.start import JobStart
from agent.model.job import Restore
from agent.processes import SystemProcesses
from agent.settings import Settings, load
from agent.slurm.admin_comment import AdminComments, Standing
from agent.slurm.command import Command, Scontrol
from agent.slurm.comment import CommentInvalid, wishes
from agent.slurm.host import Host
from agent.slurm.jobs import COLUMNS, columns, jobs
from agent.slurm.locate import find_scontrol
from agent.slurm.parse import config, config_seconds

MARGIN: Final = 3.0
"""Seconds of Slurm's limit that stay for what comes after us: the rest of the Prolog, the job's own start."""
LONGEST: Final = 540.0
"""Seconds where Slurm has no limit."""
SCONTROL: Final = 8.0

_LIMITS: Final = ("BatchStartTimeout", "PrologTimeout", "PrologEpilogTimeout")


def come_home(start: JobStart, file: Path | None, environ: Mapping[str, str], *, began: float) -> tuple[Result, str]:
    """Restore a requeued job's files; return what came of it, and a sentence. `began` is monotonic.

    Raises AgentError where nothing was restored.
    """
    settings = load(file, environ)
    return asyncio.run(_come_home(start, settings, environ, began))


async def _come_home(
    start: JobStart, settings: Settings, environ: Mapping[str, str], began: float
) -> tuple[Result, str]:
    wish = _wish(start, settings)
    if wish is Restore.OFF:
        return Result.NONE, "not wanted"
    scontrol = await _scontrol(settings, environ)
    squeue = scontrol.beside("squeue")
    standing, values, nodes, others = await asyncio.gather(
        _standing(start, squeue, scontrol),
        scontrol.show_config(),
        _names(scontrol, start.node_list),
        squeue.run("-h", "-w", start.node, "-u", str(start.uid), "-o", "%A"),
    )
    life, rank = _place(start, standing, nodes)
    if standing is None or life == 0:
        return Result.NONE, "it has not been requeued"
    if not standing.comment.of(rank):
        return Result.NONE, "no checkpoint of it is known"
    job = Rank(
        start=start,
        life=life,
        rank=rank,
        comment=standing.comment,
        names=lambda node_list: _names(scontrol, node_list),
        has_company=any(other != str(start.id) for other in others.split()),
    )
    home = Homecoming(job, settings, wish, rights_of(start.uid))
    limit = seconds_left(config(values))
    found = await home.run(until=began + limit)
    return found, "; ".join(home.said)


def seconds_left(values: Mapping[str, str]) -> float:
    """Return how long a Prolog may take: past BatchStartTimeout Slurm gives the job up, past the others the node."""
    limits = [found for name in _LIMITS if (found := config_seconds(values.get(name, ""))) is not None]
    return max(1.0, min([*limits, LONGEST]) - MARGIN)


def _place(start: JobStart, standing: Standing | None, nodes: list[str]) -> tuple[int, int]:
    rank = rank_of(start.node, nodes)
    if rank is None:
        raise NotRestored("find", f"node {start.node!r}", f"it is not among the job's: {start.node_list}")
    if start.life is not None:
        return start.life, rank
    return (0 if standing is None else standing.restarts), rank


def _wish(start: JobStart, settings: Settings) -> Restore:
    """Return what is wanted: off when either says so, fuzzy when either allows it."""
    try:
        asked = wishes(start.comment).restore
    except CommentInvalid:
        asked = Restore.ON
    either = {asked, settings.jobs.restore}
    return next((each for each in (Restore.OFF, Restore.FUZZY) if each in either), Restore.ON)


async def _standing(start: JobStart, squeue: Command, scontrol: Scontrol) -> Standing | None:
    """Return how the job stands, told as Slurm wants to be: an array's last task has the number of the whole array."""
    found = jobs(await squeue.run("-h", "-j", str(start.id), "-O", columns(COLUMNS)))
    job = next((job for job in found if (job.id, job.uid) == (start.id, start.uid)), None)
    if job is None:
        return None
    return await AdminComments(squeue=squeue, scontrol=scontrol, chance=SystemChance()).read(job.ref)


async def _names(scontrol: Scontrol, node_list: str) -> list[str]:
    return (await scontrol.run("show", "hostnames", node_list)).split()


async def _scontrol(settings: Settings, environ: Mapping[str, str]) -> Scontrol:
    processes = SystemProcesses()
    with ThreadPoolExecutor(1, thread_name_prefix="looking") as executor:
        host = Host(processes=processes, executor=executor)
        found = await find_scontrol(host, bin_dir=settings.slurm.bin_dir, path=environ.get("PATH", ""))
    conf = settings.slurm_conf or environ.get("SLURM_CONF", "")
    return Scontrol(processes, found.value, conf=conf, seconds=SCONTROL)
