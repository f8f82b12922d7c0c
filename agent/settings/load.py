"""The settings in force: defaults, then the file, then the variables."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Final

from agent.errors import SettingsInvalid
from agent.settings.aws import Aws, read_aws
from agent.settings.tree import PREFIX, Settings, Written, leaves

DEFAULT_FILE: Final = Path("/etc/hpc-agent/config.toml")


def load(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """Return the settings from the file at `path` (None: DEFAULT_FILE, if there is one) and `environ`.

    Raises SettingsInvalid, one line that names the file or variable, the key and what was expected.
    """
    written, origins = _written(path, environ)
    aws, aws_origins = read_aws(environ)
    origins |= {f"aws.{each.name}": aws_origins.get(each.name, "default") for each in fields(Aws)}
    origins["slurm_conf"] = "SLURM_CONF" if environ.get("SLURM_CONF") else "default"
    sections = {each.name: getattr(written, each.name) for each in fields(Written)}
    return Settings(**sections, aws=aws, slurm_conf=environ.get("SLURM_CONF", ""), origins=origins)


def _written(path: Path | None, environ: Mapping[str, str]) -> tuple[Written, dict[str, str]]:
    file = path or DEFAULT_FILE
    try:
        has_file = path is not None or file.exists()
    except OSError as error:
        raise SettingsInvalid("read", f"settings file {file}", error.strerror or repr(error)) from error
    if not has_file and not any(name.startswith(PREFIX) for name in environ):
        written = Written()
        return written, dict.fromkeys(leaves(written), "default")
    from agent.settings.reading import read

    return read(file, environ, has_file=has_file)
