import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from agent.daemon.noticefile import NoticeFile
from agent.evacuation.events import Started
from agent.evacuation.phases import Phase
from agent.evacuation.record import Record
from agent.evacuation.state import Effects, Evacuation
from agent.model.mode import Mode
from agent.model.notice import Notice, NoticeKind

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
SPOT = Notice(id="n", kind=NoticeKind.SPOT_TERMINATE, ends_at=NOON, due=120.0, seen_at=NOON, source="spot")
STARTED = Started(at=0.0, wall=NOON, fresh="20261123T120000.000Z-1a2b3c4d")
LEAVING = Evacuation(effects=Effects.of(Mode.ACT), phase=Phase.COPYING, notices=frozenset({SPOT}))
WATCHING = replace(LEAVING, phase=Phase.WATCHING, notices=frozenset())


async def follow(directory, *states):
    async def records():
        for number, state in enumerate(states):
            yield Record(number=number, event=STARTED, state=state)

    with ThreadPoolExecutor(1) as executor:
        await NoticeFile(directory, executor).follow(records())


async def test_an_evacuation_is_told_to_every_job(tmp_path):
    await follow(tmp_path, WATCHING, LEAVING)
    notice = tmp_path / "notice.json"
    told = json.loads(notice.read_text())
    assert (told["kind"], told["ends_at"], told["takes_disk"]) == ("spot-terminate", "2026-11-23T12:00:00.000Z", True)
    assert {path.name for path in tmp_path.iterdir()} == {"notice.json", "evacuating"}
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o644}


@pytest.mark.parametrize("after", [WATCHING, replace(LEAVING, phase=Phase.RETURNING)])
async def test_what_is_withdrawn_is_no_longer_told(tmp_path, after):
    await follow(tmp_path, LEAVING, after)
    assert list(tmp_path.iterdir()) == []


async def test_what_a_killed_agent_left_is_removed_by_the_next(tmp_path):
    (tmp_path / "notice.json").write_text("{}")
    (tmp_path / "evacuating").touch()
    await follow(tmp_path, WATCHING)
    assert list(tmp_path.iterdir()) == []


async def test_a_time_that_changes_is_told_anew(tmp_path):
    sooner = replace(SPOT, ends_at=NOON.replace(minute=1))
    await follow(tmp_path, LEAVING, replace(LEAVING, notices=frozenset({sooner})))
    assert json.loads((tmp_path / "notice.json").read_text())["ends_at"] == "2026-11-23T12:01:00.000Z"


async def test_in_observe_mode_nobody_is_told(tmp_path):
    await follow(tmp_path, replace(LEAVING, effects=Effects.of(Mode.OBSERVE)))
    assert list(tmp_path.iterdir()) == []


async def test_p6_a_directory_that_is_not_there_is_survived(tmp_path):
    await follow(tmp_path / "nowhere", LEAVING, WATCHING)
    assert list(tmp_path.iterdir()) == []
