"""EC2 for tests: a small HTTP server before a real moto server, that adds what moto does not know.

moto 5.2 has neither DescribeCapacityReservations nor the fields of a Capacity Block in DescribeInstances. The front
passes every request on, writes the fields into moto's answers and answers for the reservation itself, in the XML of the
EC2 API reference. It counts requests and can refuse them as EC2 does.
"""

import contextlib
import http.client
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import boto3

NAMESPACE = "http://ec2.amazonaws.com/doc/2016-11-15/"
SOMEBODY = {
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_REGION": "eu-west-1",
    "AWS_CONFIG_FILE": "/nonexistent",
    "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
    "AWS_EC2_METADATA_DISABLED": "true",
}


def launch(endpoint: str, count: int) -> list[str]:
    """Start instances in moto; return their ids."""
    ec2 = boto3.client(
        "ec2",
        endpoint_url=endpoint,
        region_name="eu-west-1",
        aws_access_key_id="key",
        aws_secret_access_key="secret",
    )
    said = ec2.run_instances(ImageId="ami-12c6146b", MinCount=count, MaxCount=count, InstanceType="p4d.24xlarge")
    return [instance["InstanceId"] for instance in said["Instances"]]


@dataclass
class Front:
    """The block as EC2 is to show it; `end` None is no block. `refusal`: (status, code); `garbage`: a whole body."""

    moto: str
    end: datetime | None = None
    state: str = "active"
    type: str = "capacity-block"
    known: bool = True
    refusal: tuple[int, str] | None = None
    garbage: bytes | None = None
    requests: list[tuple[float, str]] = field(default_factory=list)

    @contextlib.contextmanager
    def serving(self):
        """Serve until the end of the block; yields the address for AWS_ENDPOINT_URL_EC2."""
        front = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                action = parse_qs(body.decode())["Action"][0]
                front.requests.append((time.monotonic(), action))
                status, answer = front.answer(action, body, dict(self.headers))
                self.send_response(status)
                self.send_header("Content-Type", "text/xml;charset=UTF-8")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, name="ec2 front")
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    def answer(self, action: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        if self.refusal is not None:
            return self.refusal[0], _error(self.refusal[1])
        if self.garbage is not None:
            return 200, self.garbage
        if action == "DescribeCapacityReservations":
            return (200, self._reservations()) if self.known else (400, _error("InvalidCapacityReservationId.NotFound"))
        status, said = self._ask_moto(body, headers)
        return status, self._in_block(said) if status == 200 else said

    def _ask_moto(self, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(urlsplit(self.moto).netloc, timeout=10)
        with contextlib.closing(connection):
            passed = {k: v for k, v in headers.items() if k in {"Authorization", "Content-Type", "X-Amz-Date"}}
            connection.request("POST", "/", body, passed)
            response = connection.getresponse()
            return response.status, response.read()

    def _in_block(self, said: bytes) -> bytes:
        if self.end is None:
            return said
        fields = (
            "<instanceLifecycle>capacity-block</instanceLifecycle><capacityBlockId>cb-1</capacityBlockId>"
            "<capacityReservationId>cr-1</capacityReservationId>"
        )
        return said.replace(b"<instanceType>", fields.encode() + b"<instanceType>")

    def _reservations(self) -> bytes:
        assert self.end is not None
        end = self.end.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        return (
            f'<DescribeCapacityReservationsResponse xmlns="{NAMESPACE}"><requestId>r</requestId>'
            f"<capacityReservationSet><item><capacityReservationId>cr-1</capacityReservationId><instanceType>p5.48xlarge</instanceType>"
            f"<state>{self.state}</state><endDate>{end}</endDate><endDateType>limited</endDateType>"
            f"<reservationType>{self.type}</reservationType></item></capacityReservationSet>"
            f"</DescribeCapacityReservationsResponse>"
        ).encode()


def _error(code: str) -> bytes:
    return (
        f"<Response><Errors><Error><Code>{code}</Code><Message>as the test said</Message></Error></Errors>"
        f"<RequestID>r-1</RequestID></Response>"
    ).encode()
