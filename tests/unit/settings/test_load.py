import re
from datetime import timedelta
from pathlib import Path

import pytest

from agent.errors import SettingsInvalid
from agent.settings import Mode, load

NOWHERE = Path("/etc/hpc-agent/config.toml")

WRONG_FILES = [
    ("mode = 1", "mode", "expected 'act', 'save-only' or 'observe', not 1"),
    ("mode = 'panic'", "mode", "expected 'act', 'save-only' or 'observe', not 'panic'"),
    ("s3 = 5", "s3", "expected a section, not 5"),
    ("[s3]\nbukket = 'x'", "s3.bukket", "there is no such setting (did you mean s3.bucket?)"),
    ("colour = 1\nsize = 2", "colour", "there is no such setting (1 more like this)"),
    ("[aws]\nregion = 'x'", "aws", "there is no such setting"),
    ("[origins]", "origins", "there is no such setting"),
    ("policy = 5", "policy", "expected a section, not 5"),
    ("[asg]\nhook_window = '1s'", "asg.hook_window", "expected a duration from 30s to 2h, not '1s'"),
    ("[s3]\nbucket = 7", "s3.bucket", "expected a valid string, not 7"),
    ("[s3]\nbucket = 's3://b'", "s3.bucket", 'expected a bucket name without "s3://", as "my-bucket", not \'s3://b\''),
    ("[s3]\nprefix = '/a'", "s3.prefix", "expected a key prefix"),
    ("[s3]\nexpected_bucket_owner = '12'", "s3.expected_bucket_owner", "expected an AWS account id of 12 digits"),
    ("[s3]\npart_size = 8", "s3.part_size", "expected a size with its unit"),
    ("[s3]\npart_size = '8 MiB please'", "s3.part_size", "expected a size with its unit"),
    ("[s3]\npart_size = '1KiB'", "s3.part_size", "expected a size from 5MiB to 512MiB, not '1KiB'"),
    ("[s3]\nconnections = '16'", "s3.connections", "expected a valid integer, not '16'"),
    ("[s3]\nconnections = 0", "s3.connections", "expected a number from 1 to 128, not 0"),
    ("[scratch]\npaths = '/a'", "scratch.paths", "expected a list of strings, as [\"/scratch\"], not '/a'"),
    ("[scratch]\npaths = ['a']", "scratch.paths", "expected an absolute path"),
    ("[scratch]\npaths = ['/']", "scratch.paths", 'expected a directory below "/"'),
    ("[scratch]\nrequire_mount = 1", "scratch.require_mount", "expected a valid boolean, not 1"),
    ("[http]\nlisten = '9732'", "http.listen", "expected an address and a port"),
    ("[http]\nlisten = '[::]:99999'", "http.listen", "expected an address and a port"),
    ("[imds]\npoll_interval = 1", "imds.poll_interval", "expected a duration with its unit"),
    ("[imds]\npoll_interval = '1 week'", "imds.poll_interval", "expected a duration with its unit"),
    ("[imds]\npoll_interval = '2h'", "imds.poll_interval", "expected a duration from 100ms to 60s, not '2h'"),
    ("[state]\nsocket = 'here'", "state.socket", "expected an absolute path"),
    ("[node]\nname = 'a/b'", "node.name", "expected letters, digits"),
]

WRONG_VARIABLES = [
    ("HPC_AGENT_MODE", "panic", "expected 'act', 'save-only' or 'observe', not 'panic'"),
    ("HPC_AGENT_S3", "{}", "there is no such setting"),
    ("HPC_AGENT_S3__BUKET", "x", "there is no such setting (did you mean HPC_AGENT_S3__BUCKET?)"),
    ("HPC_AGENT_AWS__REGION", "x", "there is no such setting"),
    ("HPC_AGENT_S3__CONNECTIONS", "many", "expected a valid integer, not 'many'"),
    ("HPC_AGENT_SCRATCH__PATHS", "/a", "expected a list of strings, as [\"/scratch\"], not '/a'"),
    ("HPC_AGENT_SCRATCH__REQUIRE_MOUNT", "perhaps", "expected a valid boolean, not 'perhaps'"),
    ("AWS_ENDPOINT_URL", "somewhere", "expected an http:// or https:// address"),
    ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "ftp://x", "expected an http:// or https:// address"),
]


@pytest.fixture
def file(tmp_path):
    return tmp_path / "config.toml"


def test_without_a_file_every_key_has_its_default(file):
    file.touch()
    settings = load(file, {})
    assert settings.mode is Mode.ACT
    assert settings.imds.poll_interval == timedelta(seconds=1)
    assert settings.scratch.paths == ("/scratch",)
    assert settings.s3.part_size == 8 << 20
    assert set(settings.origins.values()) == {"default"}


@pytest.mark.skipif(NOWHERE.exists(), reason="this machine has settings")
def test_a_missing_file_at_the_default_place_is_fine():
    assert load(None, {}).s3.bucket == ""


def test_a_missing_file_that_was_asked_for_is_an_error(file):
    with pytest.raises(SettingsInvalid, match=re.escape(f"read settings file {file}: No such file or directory")):
        load(file, {})


def test_a_directory_is_not_a_settings_file(tmp_path):
    with pytest.raises(SettingsInvalid, match="Is a directory"):
        load(tmp_path, {})


@pytest.mark.parametrize("content", [b"nope", b"a = \xff"])
def test_a_file_that_is_not_toml_is_named(file, content):
    file.write_bytes(content)
    with pytest.raises(SettingsInvalid, match=f"read settings file {re.escape(str(file))}: expected TOML"):
        load(file, {})


@pytest.mark.parametrize(("content", "key", "said"), WRONG_FILES, ids=[row[0] for row in WRONG_FILES])
def test_one_line_names_the_file_the_key_and_what_was_expected(file, content, key, said):
    file.write_text(content)
    with pytest.raises(SettingsInvalid) as caught:
        load(file, {})
    line = str(caught.value)
    assert line.startswith(f"setting {key} in {file}: {said}")
    assert "\n" not in line
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(("name", "text", "said"), WRONG_VARIABLES, ids=[row[0] for row in WRONG_VARIABLES])
def test_one_line_names_the_variable_and_what_was_expected(file, name, text, said):
    file.touch()
    with pytest.raises(SettingsInvalid) as caught:
        load(file, {name: text})
    assert str(caught.value).startswith(f"setting {name}: {said}")
    assert "\n" not in str(caught.value)


def test_a_variable_wins_over_the_file_and_both_are_remembered(file):
    file.write_text('mode = "observe"\n[s3]\nbucket = "from-file"\nconnections = 4\n')
    settings = load(file, {"HPC_AGENT_S3__BUCKET": "from-variable"})
    assert (settings.mode, settings.s3.bucket, settings.s3.connections) == (Mode.OBSERVE, "from-variable", 4)
    assert settings.origins["mode"] == f"file:{file}"
    assert settings.origins["s3.bucket"] == "HPC_AGENT_S3__BUCKET"
    assert settings.origins["s3.prefix"] == "default"


def test_every_type_can_be_given_as_a_variable(file):
    file.touch()
    settings = load(
        file,
        {
            "HPC_AGENT_MODE": "save-only",
            "HPC_AGENT_SCRATCH__PATHS": '["/a", "/b/"]',
            "HPC_AGENT_SCRATCH__REQUIRE_MOUNT": "false",
            "HPC_AGENT_S3__CONNECTIONS": "8",
            "HPC_AGENT_S3__EXPECTED_BUCKET_OWNER": "012345678901",
            "HPC_AGENT_S3__PART_SIZE": "16MiB",
            "HPC_AGENT_HTTP__LISTEN": "",
        },
    )
    assert settings.mode is Mode.SAVE_ONLY
    assert settings.scratch.paths == ("/a", "/b")
    assert settings.scratch.require_mount is False
    assert (settings.s3.connections, settings.s3.part_size) == (8, 16 << 20)
    assert settings.s3.expected_bucket_owner == "012345678901"
    assert settings.http.listen == ""


def test_the_environment_of_the_process_is_not_read_behind_our_back(file):
    file.touch()
    assert "MODE" not in str(load(file, {"MODE": "observe", "S3__BUCKET": "x"}).origins.values())


def test_the_standard_variables_are_honoured(file):
    file.touch()
    settings = load(
        file,
        {
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://[fd00:ec2::254]",
            "AWS_ENDPOINT_URL": "http://everything:1",
            "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:8333",
            "AWS_REGION": "eu-west-1",
            "AWS_CA_BUNDLE": "/etc/ssl/ca.pem",
            "SLURM_CONF": "/etc/slurm/slurm.conf",
        },
    )
    assert settings.aws.metadata_endpoint == "http://[fd00:ec2::254]"
    assert settings.aws.s3_endpoint == "http://127.0.0.1:8333"
    assert settings.aws.region == "eu-west-1"
    assert settings.aws.ca_bundle == "/etc/ssl/ca.pem"
    assert settings.slurm_conf == "/etc/slurm/slurm.conf"
    assert settings.origins["aws.s3_endpoint"] == "AWS_ENDPOINT_URL_S3"


def test_one_endpoint_for_all_services_is_one_for_s3(file):
    file.touch()
    settings = load(file, {"AWS_ENDPOINT_URL": "http://127.0.0.1:8333"})
    assert settings.aws.s3_endpoint == "http://127.0.0.1:8333"
    assert settings.origins["aws.s3_endpoint"] == "AWS_ENDPOINT_URL"
