"""Whose keys sign a request, and when they are fetched anew."""

import json
import time
from datetime import UTC, datetime, timedelta

import pytest

from agent.aws.wire.credentials import EARLY_SECONDS, Fixed, Library, Role, find
from agent.aws.wire.signature import Keys
from agent.store.base import StoreUnavailable


class Metadata:
    """IMDS with a role whose keys are numbered and live `seconds`; `down` when it does not answer."""

    def __init__(self, seconds=3600.0):
        self.seconds = seconds
        self.down = False
        self.given = 0
        self.garbage = None

    def get(self, path):
        if self.down:
            raise StoreUnavailable("ask IMDS for", path, "no answer")
        if path.endswith("/"):
            return "hpc-node"
        assert path.endswith("/hpc-node")
        if self.garbage is not None:
            return self.garbage
        self.given += 1
        ends = datetime.now(UTC) + timedelta(seconds=self.seconds)
        names = {"AccessKeyId": f"A{self.given}", "SecretAccessKey": "S", "Token": "T"}
        return json.dumps({**names, "Expiration": f"{ends:%Y-%m-%dT%H:%M:%SZ}"})


def bare(tmp_path, **environ):
    none = str(tmp_path / "none")
    return {"AWS_CONFIG_FILE": none, "AWS_SHARED_CREDENTIALS_FILE": none, **environ}


def test_the_environment_goes_before_everything_else(tmp_path):
    environ = bare(tmp_path, AWS_ACCESS_KEY_ID="A", AWS_SECRET_ACCESS_KEY="S", AWS_SESSION_TOKEN="T", AWS_PROFILE="p")
    found = find(environ, Metadata())
    assert isinstance(found, Fixed)
    assert found.keys() == Keys("A", "S", "T")


def test_without_anything_the_role_of_the_instance_signs(tmp_path):
    assert find(bare(tmp_path), Metadata()).keys() == Keys("A1", "S", "T")


@pytest.mark.parametrize("name", ["AWS_PROFILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_WEB_IDENTITY_TOKEN_FILE"])
def test_what_botocore_knows_better_is_left_to_it(tmp_path, name):
    assert isinstance(find(bare(tmp_path, **{name: "x"}), Metadata()), Library)


def test_files_of_profiles_are_left_to_botocore_which_signs_with_what_is_in_them(tmp_path, monkeypatch):
    file = tmp_path / "credentials"
    file.write_text("[default]\naws_access_key_id = FILE\naws_secret_access_key = S\n")
    environ = bare(tmp_path, AWS_SHARED_CREDENTIALS_FILE=str(file))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    found = find(environ, Metadata())
    assert found.keys() == Keys("FILE", "S")
    found.refuse(Keys("FILE", "S"))
    assert found.keys().access == "FILE"


def test_an_imds_that_is_switched_off_is_not_asked(tmp_path):
    metadata = Metadata()
    with pytest.raises(StoreUnavailable, match="AWS_EC2_METADATA_DISABLED"):
        find(bare(tmp_path, AWS_EC2_METADATA_DISABLED="true"), metadata).keys()
    assert metadata.given == 0


def test_keys_are_kept_until_minutes_before_their_end():
    metadata = Metadata(seconds=EARLY_SECONDS + 60)
    role = Role(metadata)
    assert [role.keys().access for _ in range(3)] == ["A1"] * 3


def test_keys_that_end_soon_are_asked_for_anew_but_not_with_every_request(monkeypatch):
    metadata = Metadata(seconds=EARLY_SECONDS - 60)
    role = Role(metadata)
    assert [role.keys().access for _ in range(3)] == ["A1"] * 3
    later = time.monotonic() + 31
    monkeypatch.setattr("time.monotonic", lambda: later)
    assert role.keys().access == "A2"


def test_p6_an_imds_that_is_down_leaves_keys_that_are_still_good(monkeypatch):
    metadata = Metadata(seconds=EARLY_SECONDS - 60)
    role = Role(metadata)
    role.keys()
    metadata.down = True
    later = time.monotonic() + 31
    monkeypatch.setattr("time.monotonic", lambda: later)
    assert role.keys().access == "A1"


def test_keys_that_have_ended_are_not_used(monkeypatch):
    metadata = Metadata(seconds=-1)
    role = Role(metadata)
    role.keys()
    metadata.down = True
    later = time.monotonic() + 31
    monkeypatch.setattr("time.monotonic", lambda: later)
    with pytest.raises(StoreUnavailable):
        role.keys()


def test_keys_that_aws_calls_expired_are_fetched_anew_at_once():
    role = Role(Metadata())
    first = role.keys()
    role.refuse(first)
    role.refuse(first)
    assert role.keys().access == "A2"
    role.refuse(first)  # by a request that was under way meanwhile
    assert role.keys().access == "A2"


@pytest.mark.parametrize("garbage", ["", "<html>", "[]", "{}", '{"Code": "AssumeRoleUnauthorizedAccess"}', "null"])
def test_an_imds_without_usable_keys_is_trouble_that_can_pass(garbage):
    metadata = Metadata()
    metadata.garbage = garbage
    with pytest.raises(StoreUnavailable, match="IMDS gave none"):
        Role(metadata).keys()


def test_keys_that_can_not_be_used_are_in_no_message():
    metadata = Metadata()
    metadata.garbage = '{"SecretAccessKey": "hush", "AccessKeyId": "A", "Token": "T", "Expiration": "soon"}'
    with pytest.raises(StoreUnavailable, match="IMDS gave none") as refused:
        Role(metadata).keys()
    assert "hush" not in str(refused.value)


def test_why_imds_has_no_keys_is_told():
    metadata = Metadata()
    metadata.garbage = '{"Code": "AssumeRoleUnauthorizedAccess", "Message": "EC2 cannot assume the role"}'
    with pytest.raises(StoreUnavailable, match=r"hpc-node.*AssumeRoleUnauthorizedAccess EC2 cannot assume the role"):
        Role(metadata).keys()
