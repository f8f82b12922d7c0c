"""A real Auto Scaling API (moto) with what moto lacks in front of it: heartbeats, completions, and being refused."""

import contextlib
import http.server
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path
from urllib.parse import parse_qs

import botocore.session

from agent.demo.s3 import free_port

NAMESPACE = "http://autoscaling.amazonaws.com/doc/2011-01-01/"
TOLD = {"RecordLifecycleActionHeartbeat": "heartbeat", "CompleteLifecycleAction": "complete"}

TERMINATING = "autoscaling:EC2_INSTANCE_TERMINATING"
SOMEBODY = {
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_REGION": "us-west-2",
    "AWS_CONFIG_FILE": "/nonexistent",
    "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@contextlib.contextmanager
def moto(directory: Path):
    """A moto server; yields its endpoint."""
    port = free_port("127.0.0.1")
    endpoint = f"http://127.0.0.1:{port}"
    server = Path(sys.executable).with_name("moto_server")
    with (directory / "moto.log").open("wb") as log:
        child = subprocess.Popen([server, "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log)
    try:
        _wait_for(endpoint)
        yield endpoint
    finally:
        child.kill()
        child.wait()


def _wait_for(endpoint):
    for _ in range(400):
        with contextlib.suppress(OSError), urllib.request.urlopen(endpoint + "/moto-api/", timeout=2):
            return
        threading.Event().wait(0.05)
    raise RuntimeError("moto did not start")


class Group:
    """A group with one instance, in moto."""

    def __init__(self, endpoint, name):
        session = botocore.session.get_session()
        about = {"region_name": "us-west-2", "endpoint_url": endpoint}
        about |= {"aws_access_key_id": "key", "aws_secret_access_key": "secret"}
        self.name = name
        self.endpoint = endpoint
        self.client = session.create_client("autoscaling", **about)
        image = session.create_client("ec2", **about).describe_images()["Images"][0]["ImageId"]
        self.client.create_launch_configuration(LaunchConfigurationName=name, ImageId=image, InstanceType="m5.large")
        self.client.create_auto_scaling_group(
            AutoScalingGroupName=name,
            LaunchConfigurationName=name,
            MinSize=1,
            MaxSize=1,
            AvailabilityZones=["us-west-2a"],
        )
        (described,) = self.client.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"]
        self.instance = described["Instances"][0]["InstanceId"]

    def hook(self, name, *, transition=TERMINATING, seconds=300):
        self.client.put_lifecycle_hook(
            LifecycleHookName=name,
            AutoScalingGroupName=self.name,
            LifecycleTransition=transition,
            HeartbeatTimeout=seconds,
        )

    def close(self):
        for hook in self.client.describe_lifecycle_hooks(AutoScalingGroupName=self.name)["LifecycleHooks"]:
            self.client.delete_lifecycle_hook(
                AutoScalingGroupName=self.name, LifecycleHookName=hook["LifecycleHookName"]
            )


class AutoScalingApi:
    """Passes on to moto all but what moto does not know. `told` are (what, hook, group, instance, result).

    `waiting`: the instance waits at its hook; completing ends that. `denied` are actions that are refused, with `code`.
    """

    def __init__(self, behind: str) -> None:
        self._behind = behind
        self.told = []
        self.waiting = True
        self.denied = set()
        self.code = "AccessDenied"
        api = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status, said = api.answer(body, dict(self.headers))
                self.send_response(status)
                self.send_header("Content-Type", "text/xml")
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, name="auto scaling", daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def answer(self, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        asked = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        action = asked["Action"]
        if action in self.denied:
            return 403, _error(self.code, f"not authorized to perform: autoscaling:{action}")
        if action not in TOLD:
            return self._pass_on(body, headers)
        if not self.waiting:
            return 400, _error("ValidationError", "No active Lifecycle Action found with instance ID")
        names = ("LifecycleHookName", "AutoScalingGroupName", "InstanceId", "LifecycleActionResult")
        self.told.append((TOLD[action], *(asked.get(name, "") for name in names)))
        self.waiting = action != "CompleteLifecycleAction"
        return 200, f'<{action}Response xmlns="{NAMESPACE}"><{action}Result/></{action}Response>'.encode()

    def _pass_on(self, body, headers):
        request = urllib.request.Request(self._behind, data=body, headers=headers)
        with urllib.request.urlopen(request, timeout=10) as reply:
            return reply.status, reply.read()


def _error(code: str, message: str) -> bytes:
    said = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>"
    return f'<ErrorResponse xmlns="{NAMESPACE}">{said}<RequestId>r-1</RequestId></ErrorResponse>'.encode()
