import hashlib
from datetime import UTC, datetime

import pytest

from agent.checkpoint.catalog import find, list_checkpoints, load_head, load_segments, tree
from agent.checkpoint.format import FormatInvalid
from agent.checkpoint.head import HEAD_BYTES
from agent.errors import IntegrityMismatch, NotFound
from agent.model.checkpoint import SegmentRef
from agent.store.base import ObjectMissing, StoreUnavailable
from tests.fakes.checkpoints import DATA, a_directory, a_file, a_head
from tests.fakes.shelf import Shelf, an_id


async def a_shelf_of(shelf, *heads):
    return [await shelf.commit_head(a_head(**fields)) for fields in heads]


async def test_a_checkpoint_is_listed_once_with_its_highest_commit_newest_first(shelf):
    await a_shelf_of(
        shelf,
        {"checkpoint": an_id(1), "n": 2},
        {"checkpoint": an_id(1), "n": 10},
        {"checkpoint": an_id(2), "n": 1},
    )
    listed = await list_checkpoints(shelf.store, shelf.prefix)
    assert [(each.where.checkpoint, each.where.n) for each in listed] == [(an_id(2), 1), (an_id(1), 10)]
    assert listed[0].size > 0
    assert listed[0].key.startswith("checkpoints/hpc-0badcafe/spot-dy-c7gd-1/AROA:i-0123/")


async def test_a_list_can_be_of_a_cluster_or_of_a_node(shelf):
    await a_shelf_of(
        shelf,
        {"checkpoint": an_id(1), "node": "n1", "cluster": "c1"},
        {"checkpoint": an_id(2), "node": "n2", "cluster": "c1"},
        {"checkpoint": an_id(3), "node": "n1", "cluster": "c2"},
    )

    async def ids(**limits):
        return [each.where.checkpoint for each in await list_checkpoints(shelf.store, shelf.prefix, **limits)]

    assert await ids(cluster="c1") == [an_id(2), an_id(1)]
    assert await ids(node="n1") == [an_id(3), an_id(1)]
    assert await ids(cluster="c1", node="n1") == [an_id(1)]
    assert await ids(cluster="c9") == []


async def test_p2_data_without_a_head_is_no_checkpoint(shelf):
    await shelf.files({b"a": b"1"})
    await shelf.put("checkpoints/c/n/-/something.json", b"{}")
    assert await list_checkpoints(shelf.store, shelf.prefix) == []


async def test_another_prefix_is_another_world(shelf):
    await a_shelf_of(Shelf(shelf.store, "pre-other"), {})
    assert await list_checkpoints(shelf.store, "pre") == []
    assert len(await list_checkpoints(shelf.store, "pre-other/")) == 1


async def test_the_newest_complete_one_is_found_unless_any_will_do(shelf):
    old, new = await a_shelf_of(shelf, {"checkpoint": an_id(1)}, {"checkpoint": an_id(2), "complete": False})
    assert await find(shelf.store, shelf.prefix, None) == old
    assert await find(shelf.store, shelf.prefix, None, any_state=True) == new
    assert await find(shelf.store, shelf.prefix, an_id(2)) == new


async def test_what_holds_the_directories_of_one_job_is_no_answer_to_the_newest_and_is_found_by_its_id(shelf):
    await a_shelf_of(shelf, {"checkpoint": an_id(1)}, {"checkpoint": an_id(2), "reason": "peer"})
    assert (await find(shelf.store, shelf.prefix, None)).head.checkpoint == an_id(1)
    assert (await find(shelf.store, shelf.prefix, None, any_state=True)).head.checkpoint == an_id(1)
    assert (await find(shelf.store, shelf.prefix, an_id(2))).head.reason == "peer"


async def test_a_checkpoint_is_as_complete_as_its_last_commit(shelf):
    heads = await a_shelf_of(
        shelf, {"checkpoint": an_id(1), "complete": False}, {"checkpoint": an_id(1), "n": 2, "complete": True}
    )
    assert await find(shelf.store, shelf.prefix, None) == heads[1]


async def test_before_leaves_out_what_was_committed_then_or_later(shelf):
    early, late = datetime(2026, 11, 23, 9, 20, tzinfo=UTC), datetime(2026, 11, 23, 9, 40, tzinfo=UTC)
    old, new = await a_shelf_of(
        shelf, {"checkpoint": an_id(1), "created_at": early}, {"checkpoint": an_id(2), "created_at": late}
    )
    assert await find(shelf.store, shelf.prefix, None, before=late) == old
    assert await find(shelf.store, shelf.prefix, None, before=late.replace(minute=41)) == new
    with pytest.raises(NotFound):
        await find(shelf.store, shelf.prefix, None, before=early)
    with pytest.raises(NotFound):
        await find(shelf.store, shelf.prefix, None, before=early.replace(year=2025))


@pytest.mark.parametrize(
    ("heads", "wanted", "hint"),
    [
        ([], None, "prefix"),
        ([{"complete": False}], None, "--any"),
        ([{}], an_id(9), "checkpoints"),
        ([], an_id(9), "checkpoints"),
    ],
)
async def test_what_is_not_there_is_not_found_with_a_hint(shelf, heads, wanted, hint):
    await a_shelf_of(shelf, *heads)
    with pytest.raises(NotFound) as raised:
        await find(shelf.store, shelf.prefix, wanted, node=None)
    assert hint in raised.value.hint
    assert raised.value.exit_code == 5


async def test_a_planted_head_is_passed_over_by_the_newest_and_refused_by_id(shelf, caplog):
    [good] = await a_shelf_of(shelf, {"checkpoint": an_id(1)})
    await shelf.put(f"checkpoints/c/n/AROA:i-evil/{an_id(5)}.1.json", b"{}")
    assert await find(shelf.store, shelf.prefix, None) == good
    assert an_id(5) in caplog.text
    with pytest.raises(FormatInvalid, match=an_id(5)):
        await find(shelf.store, shelf.prefix, an_id(5))


async def test_p8_a_head_that_speaks_of_another_checkpoint_is_refused(shelf):
    [commit] = await a_shelf_of(shelf, {})
    blob = await shelf.store.get(f"{shelf.prefix}/{commit.key}")
    elsewhere = commit.key.replace("AROA:i-0123", "AROA:i-evil")
    await shelf.put(elsewhere, blob)
    with pytest.raises(FormatInvalid, match="another checkpoint"):
        await load_head(shelf.store, shelf.prefix, elsewhere)


async def test_p8_a_head_of_any_size_is_not_fetched(shelf):
    key = f"checkpoints/c/n/-/{an_id(1)}.1.json"
    await shelf.put(key, b" " * (HEAD_BYTES + 1))
    with pytest.raises(FormatInvalid, match="too many"):
        await load_head(shelf.store, shelf.prefix, key)


async def test_only_the_key_of_a_head_is_loaded_as_one(shelf):
    with pytest.raises(FormatInvalid):
        await load_head(shelf.store, shelf.prefix, "data/-/x")


async def test_segments_are_loaded_in_order_and_read_as_one_tree(shelf, executor):
    commit = await shelf.commit([a_directory(b"", a_file(b"a"))], [a_directory(b"", a_file(b"b"))])
    blobs = await load_segments(shelf.store, shelf.prefix, commit.head, executor)
    assert [hashlib.sha256(blob).hexdigest() for blob in blobs] == [each.sha256 for each in commit.head.segments]
    [found] = tree(commit.head, blobs)
    assert [entry.name for entry in found.entries] == [b"a", b"b"]


async def test_a_segment_of_more_roots_than_the_head_has_is_refused(shelf, executor):
    commit = await shelf.commit([a_directory(b"", root=1)])
    blobs = await load_segments(shelf.store, shelf.prefix, commit.head, executor)
    with pytest.raises(FormatInvalid, match="root 1"):
        list(tree(commit.head, blobs))


async def test_a_damaged_segment_is_named(shelf, executor):
    commit = await shelf.commit([a_directory(b"")], [a_directory(b"", a_file(b"b"))])
    key = commit.head.segments[1].key
    shelf.damage(key, at=30)
    with pytest.raises(IntegrityMismatch) as raised:
        await load_segments(shelf.store, shelf.prefix, commit.head, executor)
    assert raised.value.subject == key


async def test_only_what_this_instance_saved_is_found_when_it_is_asked_for(shelf):
    mine, _ = await a_shelf_of(
        shelf,
        {"checkpoint": an_id(1), "instance_id": "i-mine"},
        {"checkpoint": an_id(2), "instance_id": "i-other"},
    )
    assert await find(shelf.store, shelf.prefix, None, instance_id="i-mine") == mine
    with pytest.raises(NotFound, match="i-none"):
        await find(shelf.store, shelf.prefix, None, instance_id="i-none")


async def test_a_segment_damaged_on_its_way_is_fetched_again(shelf, executor):
    commit = await shelf.commit([a_directory(b"")])

    class Noisy:
        """The store, with one byte of its first answer changed."""

        answers = 0

        async def get(self, key, **where):
            blob = await shelf.store.get(key, **where)
            self.answers += 1
            return blob if self.answers > 1 else bytes([blob[0] ^ 1]) + blob[1:]

    noisy = Noisy()
    (blob,) = await load_segments(noisy, shelf.prefix, commit.head, executor)
    assert noisy.answers == 2
    assert list(tree(commit.head, (blob,)))


async def test_a_lost_segment_is_named(shelf, executor):
    commit = await shelf.commit([a_directory(b"")])
    shelf.lose(commit.head.segments[0].key)
    with pytest.raises(ObjectMissing, match=r"seg-"):
        await load_segments(shelf.store, shelf.prefix, commit.head, executor)


async def test_p8_a_segment_of_any_size_is_not_fetched(shelf, executor):
    huge = SegmentRef(key=f"{DATA}/seg-1.jsonl.gz", size=1 << 40, sha256="0" * 64, directories=0, entries=0)
    with pytest.raises(FormatInvalid, match="too many"):
        await load_segments(shelf.store, shelf.prefix, a_head(segments=(huge,)), executor)


@pytest.mark.parametrize("call", ["list", "head", "get"])
async def test_a_store_that_does_not_answer_is_no_empty_one(shelf, call):
    await a_shelf_of(shelf, {})

    class Silent:
        def __getattr__(self, name):
            if name != call:
                return getattr(shelf.store, name)
            return self._list if name == "list" else self._fail

        async def _fail(self, *_, **__):
            raise StoreUnavailable(call, "it", "does not answer")

        async def _list(self, _):
            raise StoreUnavailable(call, "it", "does not answer")
            yield

    with pytest.raises(StoreUnavailable):
        await find(Silent(), shelf.prefix, None)
