"""The commands that work on a bucket, run as people run them, against a real S3 server."""

import asyncio
import io
import json
import os
import subprocess
import sys
import tarfile

import pytest

from agent.checkpoint.keys import full

pytestmark = pytest.mark.s3


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    tree = tmp_path_factory.mktemp("source") / "scratch"
    (tree / "deep" / "empty").mkdir(parents=True)
    for number in range(50):
        (tree / "deep" / f"file-{number}").write_bytes(os.urandom(2000))
    (tree / "large").write_bytes(os.urandom(9 << 20))
    (tree / "link").symlink_to("large")
    return tree


@pytest.fixture(scope="module")
def address(s3_server):
    return f"s3://{s3_server.bucket()}/some/prefix"


@pytest.fixture(scope="module")
def command(s3_server):
    kept = {name: text for name, text in os.environ.items() if not name.startswith(("HPC_AGENT_", "AWS_", "SLURM_"))}

    def run(*arguments, **variables):
        return subprocess.run(
            [sys.executable, "-m", "agent", *map(str, arguments)],
            env=kept | s3_server.environment | {"HPC_AGENT_NODE__NAME": "n1"} | variables,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


@pytest.fixture(scope="module")
def saved(command, source, address):
    done = command("checkpoint", "--standalone", "--from", source, "--to", address, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def test_a_checkpoint_without_a_daemon_says_what_it_holds(saved):
    assert saved["schema"] == 1
    assert saved["outcome"] == "COMPLETE"
    assert (saved["files"], saved["bytes"]) == (51, 50 * 2000 + (9 << 20))
    assert saved["seconds"] > 0
    assert saved["key"].startswith("checkpoints/standalone-00000000/n1/-/")


def test_what_was_saved_is_listed(command, saved, address):
    done = command("checkpoints", "--from", address, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    (found,) = told["checkpoints"]
    assert told["more"] == 0
    assert (found["id"], found["node"], found["complete"]) == (saved["checkpoint_id"], "n1", True)
    assert (found["files"], found["bytes"]) == (saved["files"], saved["bytes"])
    assert (found["key"], found["digest"]) == (saved["key"], saved["digest"])


def test_a_list_for_people_has_a_line_each(command, saved, address):
    lines = command("checkpoints", "--from", address).stdout.splitlines()
    assert lines[0].startswith("ID ")
    assert lines[1].split()[:3] == [saved["checkpoint_id"], "n1", "complete"]


@pytest.mark.parametrize("filters", [("--node", "n2"), ("--cluster", "other-00000000")])
def test_a_list_can_be_narrowed(command, saved, address, filters):
    done = command("checkpoints", "--from", address, "--json", *filters)
    assert json.loads(done.stdout)["checkpoints"] == []


def test_the_bucket_can_come_from_the_settings(command, saved, address):
    bucket, _, prefix = address.removeprefix("s3://").partition("/")
    done = command("checkpoints", "--json", HPC_AGENT_S3__BUCKET=bucket, HPC_AGENT_S3__PREFIX=prefix)
    assert len(json.loads(done.stdout)["checkpoints"]) == 1


def test_no_bucket_at_all_exits_2(command):
    done = command("checkpoints")
    assert done.returncode == 2
    assert "set s3.bucket, or name one: s3://BUCKET/PREFIX" in done.stderr


def test_a_bucket_that_is_not_there_exits_1_with_one_line(command):
    done = command("checkpoints", "--from", "s3://no-such-bucket/x")
    assert done.returncode == 1
    assert "no-such-bucket" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_directory_that_is_not_there_exits_1_and_leaves_no_checkpoint(command, s3_server, tmp_path):
    address = f"s3://{s3_server.bucket()}"
    done = command("checkpoint", "--standalone", "--from", tmp_path / "none", "--to", address)
    assert done.returncode == 1
    assert "No such file or directory" in done.stderr
    assert json.loads(command("checkpoints", "--from", address, "--json").stdout)["checkpoints"] == []


def test_progress_goes_to_stderr(command, source, s3_server):
    done = command("checkpoint", "--standalone", "--from", source, "--to", f"s3://{s3_server.bucket()}")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr.splitlines()[-1].startswith("saving: 100 %, ")


def tree(root):
    """Everything below a directory that a restore promises to bring back."""
    found = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        content = path.readlink() if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        found[path.relative_to(root)] = (status.st_mode, status.st_uid, status.st_mtime_ns, content)
    return found


def test_a_restored_tree_is_the_same(command, saved, source, address, tmp_path):
    done = command("restore", saved["checkpoint_id"], "--from", address, "--to", tmp_path / "back", "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (0, "")
    assert (told["outcome"], told["files"], told["bytes"]) == ("COMPLETE", saved["files"], saved["bytes"])
    assert tree(tmp_path / "back") == tree(source)


def test_a_restore_that_is_run_again_leaves_what_is_there(command, saved, address, tmp_path):
    restore = ("restore", "--latest", "--from", address, "--to", tmp_path / "back")
    assert command(*restore).returncode == 0
    done = command(*restore)
    assert done.returncode == 0
    assert "already there: 51 files" in done.stderr


def test_a_dry_run_writes_nothing(command, saved, address, tmp_path):
    done = command("restore", "--latest", "--from", address, "--to", tmp_path / "back", "--dry-run")
    assert done.returncode == 0
    assert "would restore  51 files" in done.stdout
    assert not (tmp_path / "back").exists()


def test_a_file_in_the_way_is_left_and_exits_4(command, saved, source, address, tmp_path):
    back = tmp_path / "back"
    back.mkdir()
    (back / "large").write_text("mine")
    done = command("restore", "--latest", "--from", address, "--to", back)
    assert done.returncode == 4
    assert "/large: " in done.stderr
    assert (back / "large").read_text() == "mine"
    assert command("restore", "--latest", "--from", address, "--to", back, "--overwrite").returncode == 0
    assert tree(back) == tree(source)


@pytest.mark.parametrize(
    "which", [("20261123T091500.123Z-1a2b3c4d",), ("--latest", "--node", "n2"), ("--latest", "--before", "1h")]
)
def test_what_is_not_there_exits_5(command, saved, address, tmp_path, which):
    done = command("restore", *which, "--from", address, "--to", tmp_path / "back")
    assert (done.returncode, done.stdout) == (5, "")
    assert not (tmp_path / "back").exists()


def test_an_id_that_is_none_exits_2(command, address, tmp_path):
    done = command("restore", "../../etc", "--from", address, "--to", tmp_path / "back")
    assert done.returncode == 2
    assert "expected one as 20261123T091500.123Z-1a2b3c4d" in done.stderr


async def _damage(server, address, name):
    """Store other bytes of the same length where a file's are, in its pack."""
    bucket, _, prefix = address.removeprefix("s3://").partition("/")
    async with server.client() as s3:
        found = (await s3.list_objects_v2(Bucket=bucket, Prefix=full(prefix, "data/")))["Contents"]
        (key,) = [one["Key"] for one in found if one["Key"].endswith(".tar")]
        body = await (await s3.get_object(Bucket=bucket, Key=key))["Body"].read()
        with tarfile.open(fileobj=io.BytesIO(body)) as pack:
            (hit,) = [member for member in pack if member.name.endswith(f"/{name}")]
        end = hit.offset_data + hit.size
        await s3.put_object(Bucket=bucket, Key=key, Body=body[: hit.offset_data] + b"x" * hit.size + body[end:])


def test_stored_bytes_that_changed_exit_6_and_all_else_is_restored(command, s3_server, source, tmp_path):
    address = f"s3://{s3_server.bucket()}"
    assert command("checkpoint", "--standalone", "--from", source, "--to", address).returncode == 0
    asyncio.run(_damage(s3_server, address, "file-7"))
    done = command("restore", "--latest", "--from", address, "--to", tmp_path / "back", "--json")
    told = json.loads(done.stdout)
    assert done.returncode == 6
    assert (told["outcome"], told["files"], told["problem_count"]) == ("PARTIAL", 50, 1)
    assert told["problems"][0]["path"] == f"{source}/deep/file-7"
    assert "file-7" in done.stderr
    assert not (tmp_path / "back" / "deep" / "file-7").exists()


@pytest.mark.parametrize("depth", [(), ("--deep",)])
def test_a_good_checkpoint_verifies(command, saved, address, depth):
    done = command("verify", saved["checkpoint_id"], "--from", address, "--json", *depth)
    told = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (0, "")
    assert (told["outcome"], told["files"], told["problem_count"]) == ("GOOD", 51, 0)


def test_a_damaged_checkpoint_does_not_verify(command, s3_server, source):
    address = f"s3://{s3_server.bucket()}"
    saving = command("checkpoint", "--standalone", "--from", source, "--to", address, "--json")
    asyncio.run(_damage(s3_server, address, "file-7"))
    done = command("verify", json.loads(saving.stdout)["checkpoint_id"], "--from", address, "--deep")
    assert done.returncode == 6
    assert "DAMAGED" in done.stdout
    assert f"hpc-agent: {source}/deep/file-7: " in done.stderr


def test_a_checkpoint_that_is_not_there_does_not_verify(command, address):
    assert command("verify", "20261123T091500.123Z-1a2b3c4d", "--from", address).returncode == 5
    assert command("verify", "yesterday", "--from", address).returncode == 2
