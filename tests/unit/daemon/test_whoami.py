"""Finding out who we are: each piece by itself, asked again until it is there."""

import asyncio
from datetime import UTC, datetime

from agent.daemon.capabilities import Capabilities, Name
from agent.daemon.memory import Memory
from agent.daemon.whoami import Whoami, machine_identity
from agent.errors import TransientError
from agent.model.node import BootId, Identity, InstanceId
from tests.fakes.imds_time import LoopClock, play
from tests.fakes.node import FakeSlurmNode

SPOT = Identity(instance_id=InstanceId("i-1"), life_cycle="spot")
DMI = Identity(instance_id=InstanceId("i-dmi"))


class Answers:
    """Answers a question after `failures` failures; None counts as an answer."""

    def __init__(self, *answers, failures=0):
        self.answers = list(answers)
        self.failures = failures
        self.asked = 0

    async def __call__(self, *_):
        self.asked += 1
        if self.failures:
            self.failures -= 1
            raise TransientError("ask", "somebody", "no answer", hint="wait")
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def whoami(*, identity=None, slurm=None, cluster=None, writer=None, appeared=lambda: None):
    capabilities = Capabilities(LoopClock(), lambda name, known: None)
    one = Whoami(
        identify=identity or Answers(SPOT),
        find_slurm=slurm or Answers(FakeSlurmNode()),
        find_cluster=cluster or Answers("lab-0badcafe"),
        find_writer=writer or Answers("AROA:i-1"),
        capabilities=capabilities,
        boot_id=BootId("b"),
        host="ip-10-0-0-5",
        machine=DMI,
        appeared=appeared,
    )
    return one, capabilities


async def for_seconds(one, seconds):
    async with asyncio.timeout(seconds):
        await one.run()


def test_all_pieces_make_a_node():
    async def scene():
        one, _ = whoami()
        await for_seconds(one, 5)
        return await one.node()

    node = play(scene)
    assert (node.name, node.cluster, node.instance_id, node.writer) == ("n1", "lab-0badcafe", "i-1", "AROA:i-1")


def test_p6_a_writer_that_nobody_tells_is_a_dash_and_holds_up_nothing():
    async def scene():
        one, capabilities = whoami(writer=Answers("never", failures=1000))
        task = asyncio.create_task(one.run())
        await asyncio.sleep(0.1)
        began = asyncio.get_running_loop().time()
        node = await one.node()
        took = asyncio.get_running_loop().time() - began
        task.cancel()
        return node, took, capabilities[Name.WRITER]

    node, took, known = play(scene)
    assert node.writer == "-"
    assert took < 0.01
    assert known.on is False


def test_p6_sts_is_asked_again_as_soon_as_imds_has_credentials():
    async def scene():
        one, _ = whoami(identity=Answers(SPOT, failures=8), writer=Answers("AROA:i-1", failures=6))
        task = asyncio.create_task(one.run())
        while one.identity is None:  # noqa: ASYNC110 - time is simulated
            await asyncio.sleep(0.05)
        node = await one.node()
        task.cancel()
        return node

    assert play(scene).writer == "AROA:i-1"


def test_sts_is_asked_less_and_less_often():
    async def scene():
        writer = Answers("never", failures=1000)
        one, _ = whoami(writer=writer)
        task = asyncio.create_task(one.run())
        await asyncio.sleep(3600)
        task.cancel()
        return writer.asked

    assert play(scene) < 20


def test_without_imds_the_machine_itself_tells_the_instance():
    async def scene():
        one, _ = whoami(identity=Answers(SPOT, failures=1000))
        task = asyncio.create_task(one.run())
        node = await one.node()
        task.cancel()
        return node

    assert play(scene).instance_id == "i-dmi"


def test_p6_a_machine_without_slurm_has_its_host_name_and_is_settled():
    async def scene():
        one, capabilities = whoami(slurm=Answers(None), cluster=Answers("standalone-00000000"))
        task = asyncio.create_task(one.run())
        slurm = await one.slurm_node()
        node = await one.node()
        task.cancel()
        return slurm, node, capabilities[Name.SLURM]

    slurm, node, known = play(scene)
    assert slurm is None
    assert node.name == "ip-10-0-0-5"
    assert known.on is False


def test_slurm_that_appears_later_is_told():
    async def scene():
        told = []
        one, _ = whoami(slurm=Answers(None, None, FakeSlurmNode()), appeared=lambda: told.append(one.name))
        await for_seconds(one, 60)
        return told

    assert play(scene) == ["n1"]


def test_slurm_that_does_not_answer_is_neither_there_nor_missing():
    async def scene():
        one, _ = whoami(slurm=Answers(FakeSlurmNode(), failures=3))
        task = asyncio.create_task(one.run())
        began = asyncio.get_running_loop().time()
        slurm = await one.slurm_node()
        waited = asyncio.get_running_loop().time() - began
        task.cancel()
        return slurm.name, waited

    name, waited = play(scene)
    assert name == "n1"
    assert waited >= 7


def test_the_asset_tag_of_the_board_is_the_instance_id(tmp_path):
    tag = tmp_path / "sys/class/dmi/id/board_asset_tag"
    tag.parent.mkdir(parents=True)
    tag.write_text("i-0abc\n")
    assert machine_identity(tmp_path).instance_id == "i-0abc"
    tag.write_text("Default string\n")
    assert machine_identity(tmp_path).instance_id == ""
    assert machine_identity(tmp_path / "none").instance_id == ""


def test_without_an_asset_tag_the_instance_is_the_one_this_boot_remembers(tmp_path):
    assert machine_identity(tmp_path, remembered="i-0abc").instance_id == "i-0abc"


def test_who_we_are_is_known_as_soon_as_a_source_has_heard_it():
    async def scene():
        one, _ = whoami()
        for identity in (None, SPOT, Identity(instance_id=InstanceId("i-other"))):
            one.heard(identity)
            ids.append(one.instance_id)

    ids = []
    play(scene)
    assert ids == ["i-dmi", "i-1", "i-1"]


def test_memory_is_of_one_boot(tmp_path):
    path = tmp_path / "node.json"
    memory = Memory(boot="b1", name="n1", cluster="lab-1", writer="AROA:i-1", instance_id="i-1")
    memory.save(path)
    assert Memory.load(path, BootId("b1")) == memory
    assert Memory.load(path, BootId("b2")) == Memory(boot="b2")
    for broken in ("", "[]", '{"boot": "b1", "name": 3}', '{"x": 1}'):
        path.write_text(broken)
        assert Memory.load(path, BootId("b1")) == Memory(boot="b1")


def test_a_capability_that_changes_is_told_once():
    told = []

    class Noon:
        def now(self):
            return datetime(2026, 11, 23, tzinfo=UTC)

    capabilities = Capabilities(Noon(), lambda name, known: told.append((name, known.on)))
    for _ in range(3):
        capabilities.off(Name.HTTP, "taken", "choose another port")
    capabilities.on(Name.HTTP, "[::]:9732")
    assert told == [(Name.HTTP, False), (Name.HTTP, True)]
