"""The standard variables of AWS and Slurm that other programs on the node obey, too."""

from collections.abc import Mapping

from agent.errors import SettingsInvalid
from agent.settings.text import check_url
from agent.value import value

_VARIABLES = {
    "metadata_endpoint": ("AWS_EC2_METADATA_SERVICE_ENDPOINT",),
    "s3_endpoint": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
    "region": ("AWS_REGION", "AWS_DEFAULT_REGION"),
    "ca_bundle": ("AWS_CA_BUNDLE",),
}


@value
class Aws:
    """Empty means not given. `ca_bundle` is a file of certificates that TLS servers are checked against."""

    metadata_endpoint: str = ""
    s3_endpoint: str = ""
    region: str = ""
    ca_bundle: str = ""


def read_aws(environ: Mapping[str, str]) -> tuple[Aws, dict[str, str]]:
    """Return the AWS values of `environ`, and which variable gave each.

    Raises SettingsInvalid when an endpoint is no address.
    """
    given: dict[str, str] = {}
    origins: dict[str, str] = {}
    for key, names in _VARIABLES.items():
        name = next((name for name in names if environ.get(name)), None)
        if name is None:
            continue
        given[key], origins[key] = environ[name], name
        if key.endswith("endpoint"):
            _check_endpoint(name, environ[name])
    return Aws(**given), origins


def _check_endpoint(name: str, text: str) -> None:
    try:
        check_url(text)
    except ValueError as error:
        raise SettingsInvalid("setting", name, f"expected {error}, not {text[:80]!r}") from error
