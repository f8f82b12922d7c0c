import sys

import pytest

from agent.cli.bucket import Place, place
from agent.errors import SettingsInvalid
from agent.settings import load


@pytest.fixture
def settings(tmp_path):
    (tmp_path / "config.toml").write_text("[s3]\nbucket = 'ours'\n")
    return load(tmp_path / "config.toml", {})


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (None, Place("ours", "hpc-agent")),
        ("s3://theirs", Place("theirs", "")),
        ("s3://theirs/", Place("theirs", "")),
        ("s3://theirs/some/prefix/", Place("theirs", "some/prefix")),
    ],
)
def test_an_address_names_a_bucket_and_a_prefix(settings, address, expected):
    assert place(address, settings) == expected


@pytest.mark.parametrize("address", ["", "theirs", "s3://", "s3:///x", "http://theirs/x", "s3://a b"])
def test_what_is_no_address_is_refused(settings, address):
    with pytest.raises(SettingsInvalid, match="expected s3://BUCKET/PREFIX"):
        place(address, settings)


def test_without_a_bucket_the_hint_says_where_to_name_one(tmp_path):
    (tmp_path / "config.toml").touch()
    with pytest.raises(SettingsInvalid, match=r"set s3\.bucket, or name one"):
        place(None, load(tmp_path / "config.toml", {}))


LISTING = """
import asyncio, sys
from pathlib import Path
from agent.cli.bucket import Place, opened
from agent.settings import load
import os

async def look():
    async with opened(Place("b-1", "p"), load(Path(sys.argv[1]), os.environ), seconds=0.3) as store:
        await store.head("key")

asyncio.run(look())
"""


def test_a_command_gives_up_on_a_store_that_never_answers(command, tmp_path):
    (tmp_path / "config.toml").touch()
    done = command(
        str(tmp_path / "config.toml"),
        program=[sys.executable, "-c", LISTING],
        AWS_ENDPOINT_URL_S3="http://127.0.0.1:1",
        AWS_ACCESS_KEY_ID="a",
        AWS_SECRET_ACCESS_KEY="s",
        AWS_EC2_METADATA_DISABLED="true",
    )
    assert "hpc-agent: waiting: " in done.stderr
    assert done.stderr.splitlines()[-1].startswith(
        "agent.store.base.StoreUnavailable: reach s3://b-1/p: no success for 0.3 s: "
    )
