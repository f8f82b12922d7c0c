"""All looks together: bounded, side by side, whatever happens to one of them; and how they are shown."""

import asyncio
import json
from pathlib import Path

import pytest

from agent.cli import doctor
from agent.doctor.checkup import Look, bounded, side_by_side
from agent.doctor.finding import Level, green, red, unknown, worst, yellow
from agent.doctor.report import document, text
from agent.doctor.threads import ForgettableThreads
from agent.errors import TransientError
from tests.fakes.doctor import levels

FINDINGS = [green("imds", "answers"), red("s3 write", "AccessDenied", "allow it"), unknown("kms", "not tried")]


def look(name, *, seconds=0.0, error=None):
    async def begin():
        await asyncio.sleep(seconds)
        if error is not None:
            raise error
        return [green(name, "fine")]

    return Look(names=[name], begin=begin)


async def test_a_look_that_takes_too_long_is_unknown():
    assert levels(await bounded(look("slow", seconds=60), 0.01)) == {"slow": "unknown"}


async def test_a_look_that_fails_is_unknown_and_says_why():
    (finding,) = await bounded(look("x", error=TransientError("ask", "it", "gone", hint="wait")), 1)
    assert (finding.level, finding.detail, finding.hint) == ("unknown", "ask it: gone", "wait")


async def test_looks_go_side_by_side_and_keep_their_order():
    told = []
    looks = [look("a", seconds=0.02), look("b"), look("c", seconds=60)]
    found = await side_by_side(looks, 0.1, told.append)
    assert list(levels(found).items()) == [("a", "green"), ("b", "green"), ("c", "unknown")]
    assert (told[0], told[-1]) == (["a", "b", "c"], [])


@pytest.mark.parametrize(
    ("findings", "level"),
    [
        (FINDINGS, Level.RED),
        ([green("a", ""), yellow("b", ""), unknown("c", "")], Level.YELLOW),
        ([green("a", ""), unknown("c", "")], Level.UNKNOWN),
        ([green("a", "")], Level.GREEN),
    ],
)
def test_the_worst_counts(findings, level):
    assert worst(findings) is level


def test_people_get_aligned_lines_with_hints_and_a_count():
    assert text(FINDINGS).splitlines() == [
        "green    imds      answers",
        "red      s3 write  AccessDenied",
        "                   -> allow it",
        "unknown  kms       not tried",
        "1 unknown, 1 red, 1 green",
    ]


def test_colours_are_only_on_the_level():
    assert text(FINDINGS, coloured=True).splitlines()[0] == "\x1b[32mgreen  \x1b[0m  imds      answers"


def test_programs_get_a_document():
    made = document(FINDINGS, version="0.1.0", at="2026-11-23T09:15:00.000Z", seconds=1.234)
    assert json.loads(json.dumps(made)) == {
        "schema": 1,
        "version": "0.1.0",
        "at": "2026-11-23T09:15:00.000Z",
        "seconds": 1.2,
        "worst": "red",
        "findings": [
            {"name": "imds", "level": "green", "detail": "answers", "hint": ""},
            {"name": "s3 write", "level": "red", "detail": "AccessDenied", "hint": "allow it"},
            {"name": "kms", "level": "unknown", "detail": "not tried", "hint": ""},
        ],
    }


def test_what_others_worded_does_not_drive_the_terminal(capsys):
    doctor.print_report([red("bucket", "no\nsuch \x1b[2Jbucket")], coloured=False)
    assert capsys.readouterr().out.splitlines()[0] == "red      bucket  no such \\x1b[2Jbucket"


def test_threads_that_nobody_waits_for_answer_and_fail_as_others_do():
    threads = ForgettableThreads()
    assert threads.submit(lambda: 7).result(5) == 7
    with pytest.raises(OSError):
        threads.submit(lambda: Path("/nonexistent").read_text()).result(5)
