"""Bucket, rights, launch templates and cluster configuration: what they would do; cfn-lint: test_cloudformation.py."""

import json
import os
import re
import subprocess
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
import yaml

from agent.checkpoint import keys
from agent.checkpoint.keys import (
    HeadKey,
    begun_key,
    file_key,
    full,
    head_key,
    job_key,
    outcome_key,
    pack_key,
    probe_key,
    segment_key,
)
from agent.doctor.statement import OWN_KEYS
from agent.model.checkpoint import CheckpointId
from tests.fakes.cloudformation import load
from tests.fakes.launch import LAUNCH, NAMES, TEMPLATES, launch_data, parts, stack

ROOT = Path(__file__).parents[2]
INSTALL = ROOT / "docs/install.md"
ID = "20261123T091500.123Z-1a2b3c4d"
OWN, OTHER = "AROAEXAMPLE:i-0123", "AROAEXAMPLE:i-0456"
AT = datetime(2026, 11, 23, tzinfo=UTC)


def blocks(document, language):
    return re.findall(rf"^ *```{language}\n(.*?)^ *```", document.read_text(), re.MULTILINE | re.DOTALL)


# --- the bucket


def rules(**parameters):
    found = stack("bucket", **parameters).properties("Bucket")["LifecycleConfiguration"]["Rules"]
    return {rule["Id"]: rule for rule in found}


def test_the_bucket_is_private_and_versioned_and_stays_when_the_stack_goes():
    bucket = stack("bucket")
    properties = bucket.properties("Bucket")
    assert set(properties["PublicAccessBlockConfiguration"].values()) == {True}
    assert properties["VersioningConfiguration"] == {"Status": "Enabled"}
    assert properties["OwnershipControls"]["Rules"] == [{"ObjectOwnership": "BucketOwnerEnforced"}]
    for resource in bucket.template["Resources"].values():
        assert (resource["DeletionPolicy"], resource["UpdateReplacePolicy"]) == ("Retain", "Retain")


def test_the_bucket_takes_nothing_without_tls():
    (statement,) = stack("bucket").properties("BucketPolicy")["PolicyDocument"]["Statement"]
    assert (statement["Effect"], statement["Principal"], statement["Action"]) == ("Deny", "*", "s3:*")
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


@pytest.mark.parametrize("days", ["3", "7", "14", "30", "60", "90"])
def test_p2_no_head_outlives_its_data(days):
    found = rules(Retention=days)
    assert {found[name]["ExpirationInDays"] for name in ("checkpoints", "jobs", "outcomes")} == {days}
    assert found["data"]["ExpirationInDays"] == 2 * int(days)


def test_every_folder_of_the_format_expires_and_nothing_else_does():
    folders = set(re.findall(r"^\| `([a-z]+)/", (ROOT / "docs/format.md").read_text(), re.MULTILINE))
    expiring = {rule["Prefix"] for rule in rules(Prefix="p").values() if "ExpirationInDays" in rule}
    assert expiring == {f"p/{folder}/" for folder in folders | {"drill"}}


def test_what_a_lost_node_leaves_behind_goes_within_a_day():
    found = rules()
    assert found["uploads"]["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}
    assert found["noncurrent"]["NoncurrentVersionExpiration"] == {"NoncurrentDays": 1}
    assert not {"Prefix", "TagFilters"} & (found["uploads"].keys() | found["noncurrent"].keys())


# --- what a node may do

EVERYTHING = {"KmsKeyArn": "arn:aws:kms:eu-west-1:111122223333:key/k", "AutoScalingGroup": "hpc-nodes"}
NOTHING_MORE = {"CapacityBlocks": "no", "Doctor": "no"}


def statements(**parameters):
    document = stack("instance-policy", BucketName="my-bucket", **parameters).properties("Policy")["PolicyDocument"]
    return {statement["Sid"]: statement for statement in document["Statement"]}


def may_put(key, writer):
    arn = f"arn:aws:s3:::my-bucket/{full('hpc-agent', key)}"
    allowed = statements()["WriteOwnKeys"]["Resource"]
    return any(fnmatchcase(arn, each.replace("${aws:userid}", writer)) for each in allowed)


WRITTEN = {
    "head_key": head_key(HeadKey(cluster="hpc-0badcafe", node="n1", writer=OWN, checkpoint=CheckpointId(ID), n=1)),
    "file_key": file_key(writer=OWN, pass_id=ID, counter=1, name=b"a/b"),
    "pack_key": pack_key(writer=OWN, pass_id=ID, counter=1),
    "segment_key": segment_key(writer=OWN, pass_id=ID, n=1),
    "begun_key": begun_key(cluster="hpc-0badcafe", writer=OWN, at=AT),
    "outcome_key": outcome_key(cluster="hpc-0badcafe", writer=OWN, at=AT),
    "job_key": job_key(cluster="hpc-0badcafe", job=17, writer=OWN, life=1, rank=0),
    "probe_key": probe_key(writer=OWN, probe_id=ID),
}


def test_every_kind_of_key_that_the_agent_writes_is_tried():
    makers = {name for name in vars(keys) if name.endswith("_key") and not re.match(r"is_|parse_|_", name)}
    assert set(WRITTEN) == makers


@pytest.mark.parametrize("key", WRITTEN.values(), ids=WRITTEN.keys())
def test_p8_a_node_may_write_its_own_keys_and_nobody_elses(key):
    assert may_put(key, OWN)
    assert not may_put(key, OTHER)


def test_p8_no_node_may_change_what_others_install_from():
    assert not may_put("install/bootstrap.sh", OWN)
    assert not may_put(f"install/{OWN}/bootstrap.sh", OWN)


def test_the_policy_the_document_and_the_doctor_agree_on_where_a_node_writes():
    template = [{name: one[name] for name in one if name != "Sid"} for one in statements(**NOTHING_MORE).values()]
    (document,) = blocks(INSTALL, "json")
    assert json.loads(document)["Statement"] == template
    assert {f"arn:aws:s3:::my-bucket/hpc-agent/{key}" for key in OWN_KEYS} == set(template[0]["Resource"])


def test_a_node_may_delete_nothing_and_change_nothing_outside_its_bucket_and_hook():
    actions = [action for one in statements(**EVERYTHING).values() for action in [one["Action"]]]
    flat = {each for action in actions for each in ([action] if isinstance(action, str) else action)}
    assert not {action for action in flat if "*" in action or "Delete" in action}
    changing = {action for action in flat if not re.search(r":(Describe|Get|List)", action)}
    assert changing == {
        "s3:PutObject",
        "s3:AbortMultipartUpload",
        "kms:GenerateDataKey",
        "kms:Decrypt",
        "autoscaling:RecordLifecycleActionHeartbeat",
        "autoscaling:CompleteLifecycleAction",
    }
    assert statements(**EVERYTHING)["KeepHooks"]["Resource"].endswith(":autoScalingGroupName/hpc-nodes")


def test_what_is_optional_is_a_statement_of_its_own():
    least = {"WriteOwnKeys", "Read", "List"}
    assert set(statements(**NOTHING_MORE)) == least
    assert set(statements(**NOTHING_MORE, KmsKeyArn="k")) == {*least, "UseKey"}
    assert set(statements(**NOTHING_MORE, AutoScalingGroup="*")) == {*least, "SeeHooks", "KeepHooks"}
    assert set(statements(Doctor="no")) == {*least, "SeeReservation"}


# --- launch templates

launching = pytest.mark.parametrize("name", NAMES)


@launching
def test_nodes_ask_metadata_with_a_token_and_see_their_tags(name):
    options = launch_data(name)["MetadataOptions"]
    assert (options["HttpTokens"], options["InstanceMetadataTags"]) == ("required", "enabled")


def test_a_node_that_was_stopped_before_user_data_was_through_runs_it_again():
    config = parts("auto-scaling-group")["text/cloud-config"]
    assert config.startswith("#cloud-config\n")
    assert yaml.safe_load(config) == {"cloud_final_modules": [["scripts-user", "always"]]}


def test_pcs_gets_the_role_it_asks_for():
    pcs = stack("pcs-launch-template", **LAUNCH)
    assert {pcs.properties(name)["Path"] for name in ("Role", "InstanceProfile")} == {"/aws-pcs/"}
    actions = [one["Action"] for one in pcs.properties("Role")["Policies"][0]["PolicyDocument"]["Statement"]]
    assert actions == ["pcs:RegisterComputeNodeGroupInstance"]


def test_the_group_has_a_stopped_pool_and_a_hook_that_the_agent_takes_for_its_own():
    group = stack("auto-scaling-group", **LAUNCH)
    (hook,) = group.properties("Group")["LifecycleHookSpecificationList"]
    assert hook["LifecycleHookName"].startswith("hpc-agent")
    assert (hook["HeartbeatTimeout"], hook["DefaultResult"]) == (300, "CONTINUE")
    assert group.properties("WarmPool")["PoolState"] == "Stopped"


@pytest.fixture
def node(tmp_path):
    """A machine with an `aws` that brings an installer, which writes down how it was called."""
    installer = tmp_path / "installer"
    installer.write_text(f'printf "%s\\n" "$@" >{tmp_path}/called\nexit 7\n')
    (tmp_path / "aws").write_text(
        f'#!/bin/sh\necho "$@" >{tmp_path}/fetched\n[ ! -e {tmp_path}/denied ] || exit 1\n'
        f'for to; do :; done\ncp {installer} "$to"\n'
    )
    (tmp_path / "logger").write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/logged\n')
    for program in ("aws", "logger"):
        (tmp_path / program).chmod(0o755)
    return tmp_path


def sha256(path):
    return subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True).stdout[:64]


def start(node, name, *, checksum=""):
    checksum = checksum or sha256(node / "installer")
    script = parts(name, BootstrapSha256=checksum)["text/x-shellscript"].replace("/run/", f"{node}/")
    path = f"{node}:{os.environ['PATH']}"
    return subprocess.run(["sh", "-c", script], env={"PATH": path}, capture_output=True, timeout=30, check=False)


@launching
def test_user_data_runs_the_installer_with_what_it_needs_and_never_fails_the_node(node, name):
    assert start(node, name).returncode == 0
    assert (node / "called").read_text().split("\n")[:-1] == [
        "--bundle",
        "s3://my-bucket/hpc-agent/install/hpc-agent-0.1.0-x86_64.tar.gz",
        "--sha256",
        "0" * 64,
        "--bucket",
        "my-bucket",
        "--config",
        "s3://my-bucket/hpc-agent/install/config.toml",
    ]
    assert "s3://my-bucket/hpc-agent/install/bootstrap.sh" in (node / "fetched").read_text()


@launching
def test_an_installer_that_is_another_one_is_not_run(node, name):
    assert start(node, name, checksum="1" * 64).returncode == 0
    assert not (node / "called").exists()
    assert "not installed" in (node / "logged").read_text()


@launching
def test_an_installer_that_can_not_be_fetched_is_said_and_the_node_starts(node, name):
    (node / "denied").touch()
    assert start(node, name).returncode == 0
    assert not (node / "called").exists()
    assert "not installed" in (node / "logged").read_text()


# --- the rehearsal

TAGS = {
    "parallelcluster": "parallelcluster:cluster-name",
    "pcs": "aws:pcs:cluster-id",
    "auto-scaling": "aws:autoscaling:groupName",
    "hpc-agent": "hpc-agent:cluster",
}


@pytest.mark.parametrize(("kind", "tag"), TAGS.items())
def test_a_rehearsal_interrupts_one_running_spot_node_of_the_cluster_and_may_interrupt_no_other(kind, tag):
    rehearsal = stack("spot-rehearsal", TagKeyOf=kind, Cluster="hpc")
    experiment = rehearsal.properties("Experiment")
    (target,) = experiment["Targets"].values()
    assert (target["ResourceType"], target["SelectionMode"]) == ("aws:ec2:spot-instance", "COUNT(1)")
    assert target["ResourceTags"] == {tag: "hpc"}
    assert target["Filters"] == [{"Path": "State.Name", "Values": ["running"]}]
    (action,) = experiment["Actions"].values()
    assert action["ActionId"] == "aws:ec2:send-spot-instance-interruptions"
    assert action["Parameters"] == {"durationBeforeInterruption": "PT2M"}
    assert action["Targets"] == {"SpotInstances": "nodes"}
    see, interrupt = rehearsal.properties("Role")["Policies"][0]["PolicyDocument"]["Statement"]
    assert (see["Action"], interrupt["Action"]) == ("ec2:DescribeInstances", "ec2:SendSpotInstanceInterruptions")
    assert interrupt["Condition"] == {"StringEquals": {f"aws:ResourceTag/{tag}": "hpc"}}


# --- ParallelCluster and the documents


def cluster():
    return yaml.safe_load((ROOT / "packaging/parallelcluster/cluster.yaml").read_text())


def queues():
    return {queue["Name"]: queue for queue in cluster()["Scheduling"]["SlurmQueues"]}


def test_the_head_node_takes_its_scripts_from_the_bundle_that_the_queues_install():
    head = cluster()["HeadNode"]
    (queue, *_) = queues().values()
    action = head["CustomActions"]["OnNodeConfigured"]
    assert head["CustomActions"]["OnNodeUpdated"] == action
    assert action["Script"].endswith("/install/head-node.sh")
    assert action["Args"] == queue["CustomActions"]["OnNodeConfigured"]["Args"][:4]
    assert head["Iam"]["S3Access"] == [{"BucketName": "my-bucket", "KeyName": "hpc-agent/install/*"}]


def test_both_queues_install_the_agent_and_have_its_rights():
    assert {queue["CapacityType"] for queue in queues().values()} == {"SPOT", "CAPACITY_BLOCK"}
    for queue in queues().values():
        action = queue["CustomActions"]["OnNodeConfigured"]
        options = dict(zip(action["Args"][::2], action["Args"][1::2], strict=True))
        assert set(options) == {"--bundle", "--sha256", "--bucket", "--config"}
        assert all(isinstance(value, str) for value in options.values())
        assert action["Script"].endswith("/bootstrap.sh")
        assert queue["Iam"]["AdditionalIamPolicies"]


def test_the_queue_of_a_capacity_block_is_static_and_names_its_reservation():
    block = queues()["block"]
    assert block["CapacityReservationTarget"]["CapacityReservationId"]
    for resource in block["ComputeResources"]:
        assert resource["MinCount"] == resource["MaxCount"] > 0


def test_every_way_to_install_begins_with_observe():
    ways = [block for block in blocks(INSTALL, "sh") if block.startswith("cat >config.toml")]
    assert [way.splitlines()[1] for way in ways] == ['mode = "observe"'] * 3


def test_a_lifecycle_action_of_pcs_never_ends_a_node_and_calls_the_installer_as_it_wants_to_be_called():
    (block,) = (block for block in blocks(INSTALL, "sh") if "--node-lifecycle-actions" in block)
    (stage,) = json.loads(block.split("'")[1])["stages"].items()
    assert stage[0] == "nodeBootstrapped"
    (action,) = stage[1]
    assert action["onError"] == "CONTINUE"
    (queue, *_) = queues().values()
    assert action["arguments"] == queue["CustomActions"]["OnNodeConfigured"]["Args"]


def test_slurm_is_sent_to_scripts_that_the_bundle_installs():
    told = INSTALL.read_text() + (ROOT / "docs/jobs.md").read_text()
    named = set(re.findall(r"/opt/hpc-agent/current/share/hpc-agent/(slurm/[a-z.]+)/\*", told))
    assert named == {"slurm/prolog.d", "slurm/epilog.d"}
    assert all(len(list((ROOT / "packaging" / path).iterdir())) == 1 for path in named)


def test_every_template_is_deployed_with_parameters_that_it_has_and_all_that_it_needs():
    deployed = set()
    for block in blocks(INSTALL, "sh"):
        for command in re.findall(
            r"aws cloudformation deploy (.*?)\n(?! )", block.replace("\\\n", " ") + "\n\n", re.DOTALL
        ):
            template = ROOT / re.search(r"--template-file (\S+)", command)[1]
            given = set(re.findall(r" ([A-Z]\w+)=", command))
            known = load(template)["Parameters"]
            assert given <= set(known), template.name
            assert {name for name, spec in known.items() if "Default" not in spec} <= given, template.name
            deployed.add(template.name)
    assert deployed == {path.name for path in TEMPLATES.glob("*.yaml")} - {"interruption-tag.yaml"}


@pytest.mark.parametrize("document", ["install", "migration"])
def test_every_block_is_shell_that_can_be_pasted(document):
    for block in blocks(ROOT / f"docs/{document}.md", "sh"):
        done = subprocess.run(["sh", "-n"], input=block, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
