"""What is too old to be referred to, of files that did not change: copied by the store, or read and sent."""

import os
from datetime import timedelta

import pytest

from agent.checkpoint.receipts import Receipts
from agent.checkpoint.refresh import is_worth_a_copy
from agent.errors import IntegrityMismatch
from agent.store.base import MOST_COPIED, ObjectMissing, StoreDenied
from tests.fakes.flaky_store import FlakyStore
from tests.fakes.saved import PART, directories, tree_of, tree_on_disk
from tests.fakes.saved_again import Days, plant

PACKED = {"pack_below": 10_000, "pack_size": 20_000}
LATER = "20261124T091500.000Z-1a2b3c4d"


class Wire(FlakyStore):
    """Fails each call of a name with an error."""

    def __init__(self, store, **errors):
        super().__init__(store)
        self.errors = errors

    async def _call(self, name, key, call):
        if name in self.errors:
            raise self.errors[name]
        return await super()._call(name, key, call)

    def number_of(self, name):
        return sum(call.startswith(f"{name} ") for call in self.calls)

    @property
    def sent(self):
        """Calls that sent bytes of files."""
        return [call for call in self.calls if call.startswith("put") and "/data/" in call and "/seg-" not in call]


async def base(node, **options):
    """Save what is there, and once more a while later: the head is younger than what it refers to."""
    await node.save(clock=Days(0.1), **options)
    (node.root / "young").write_bytes(b"young")
    await node.save(clock=Days(5), **options)


async def aged(node, wire, **options):
    """Save again when what was stored first is too old; return the head and the trouble."""
    saver = node.saver(store=wire, clock=Days(8), refresh_after=timedelta(days=7), **options)
    await saver.copy()
    return (await saver.commit()).head, saver.trouble


async def used_by(node, head):
    found = await directories(node.store, head)
    return {entry.ref.key for directory in found for entry in directory.entries if entry.ref}


@pytest.mark.parametrize("options", [{}, PACKED], ids=["single", "packed"])
async def test_p3_old_bytes_of_files_that_did_not_change_are_copied_by_the_store_and_none_is_sent(node, options):
    plant(node.root)
    (node.root / "large").write_bytes(os.urandom(3 * PART))
    await node.save(clock=Days(0.1), **options)
    old = set(await node.objects())
    (node.root / "young").write_bytes(b"young")
    await node.save(clock=Days(5), **options)
    wire = Wire(node.store)
    head, trouble = await aged(node, wire, **options)
    assert (head.complete, trouble, wire.sent) == (True, (), [])
    assert await tree_of(node.store, head) == tree_on_disk(node.root)
    assert not await used_by(node, head) & old
    assert wire.number_of("copy") == len(old), "each object once, whoever shares it"


async def test_a_file_that_changed_is_sent_and_its_neighbours_in_the_pack_are_copied(node):
    plant(node.root)
    await base(node, **PACKED)
    (node.root / "a" / "03").write_bytes(b"changed")
    wire = Wire(node.store)
    head, _ = await aged(node, wire, **PACKED)
    assert (head.complete, len(wire.sent)) == (True, 1)
    assert wire.number_of("copy") >= 1
    assert await tree_of(node.store, head) == tree_on_disk(node.root)


@pytest.mark.parametrize(("kept", "copied", "sent"), [(9, 0, 1), (12, 1, 0)])
async def test_a_pack_is_copied_only_where_enough_of_it_is_of_use(node, kept, copied, sent):
    for number in range(20):
        (node.root / f"{number:02}").write_bytes(os.urandom(2000))
    await node.save(clock=Days(0.1), pack_below=10_000, pack_size=1 << 20)
    for number in range(kept, 20):
        (node.root / f"{number:02}").unlink()
    await node.save(clock=Days(5), pack_below=10_000)
    wire = Wire(node.store)
    head, trouble = await aged(node, wire, pack_below=10_000, pack_size=1 << 20)
    assert (head.complete, trouble, wire.number_of("copy"), len(wire.sent)) == (True, (), copied, sent)
    assert await tree_of(node.store, head) == tree_on_disk(node.root)


@pytest.mark.parametrize(
    "errors",
    [
        {"copy": StoreDenied("copy", "k", "403")},
        {"copy": ObjectMissing("copy", "k", "404")},
        {"copy": IntegrityMismatch("copy", "k", "another checksum")},
        {"head": StoreDenied("head", "k", "403"), "copy": StoreDenied("copy", "k", "403")},
    ],
)
@pytest.mark.parametrize("options", [{}, PACKED], ids=["single", "packed"])
async def test_p6_what_can_not_be_copied_is_read_and_sent_and_that_is_told_once(node, errors, options):
    plant(node.root)
    await base(node, **options)
    head, trouble = await aged(node, Wire(node.store, **errors), **options)
    assert (head.complete, len(trouble)) == (True, 1)
    assert "are read and sent" in trouble[0]
    assert await tree_of(node.store, head) == tree_on_disk(node.root)
    young = (Days(8).now() - timedelta(days=7)).strftime("%Y%m%dT%H%M%S")
    assert all(key.split("/")[2] >= young for key in await used_by(node, head))


async def test_a_pack_whose_checksum_the_store_does_not_tell_is_read_and_sent(node):
    class Silent(Wire):
        async def head(self, key):
            found = await super().head(key)
            return type(found)(key=found.key, size=found.size, modified=found.modified)

    plant(node.root)
    await base(node, **PACKED)
    wire = Silent(node.store)
    head, trouble = await aged(node, wire, **PACKED)
    assert (head.complete, trouble, wire.number_of("copy")) == (True, (), 0)
    assert await tree_of(node.store, head) == tree_on_disk(node.root)


@pytest.mark.parametrize("options", [{}, PACKED], ids=["single", "packed"])
async def test_p7_what_was_copied_before_a_kill_is_not_copied_again(node, options):
    plant(node.root)
    await base(node, **options)
    path = node.root.parent / "receipts.jsonl"
    first, second = Wire(node.store), Wire(node.store)
    how = {"checkpoint": LATER, "clock": Days(8), "refresh_after": timedelta(days=7), **options}
    await node.saver(store=first, receipts=Receipts.load(path), **how).copy()  # and no commit
    saver = node.saver(store=second, receipts=Receipts.load(path), **how)
    await saver.copy()
    head = (await saver.commit()).head
    assert first.number_of("copy")
    assert (second.number_of("copy"), second.sent, head.complete) == (0, [], True)
    assert await tree_of(node.store, head) == tree_on_disk(node.root)


def test_an_object_is_copied_where_half_of_it_is_of_use_and_one_request_takes_it():
    assert is_worth_a_copy(size=100, used=50)
    assert not is_worth_a_copy(size=100, used=49)
    assert is_worth_a_copy(size=MOST_COPIED, used=MOST_COPIED)
    assert not is_worth_a_copy(size=MOST_COPIED + 1, used=MOST_COPIED + 1)
