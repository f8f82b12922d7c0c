"""All settings as one value."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from agent.model.mode import Mode
from agent.settings.aws import Aws
from agent.settings.policy import PolicySection
from agent.settings.sections import (
    AsgSection,
    CapacityBlockSection,
    CheckpointSection,
    EvacuationSection,
    HttpSection,
    ImdsSection,
    JobsSection,
    NodeSection,
    S3Section,
    ScratchSection,
    SlurmSection,
    StateSection,
)


class Written(BaseSettings):
    """What the file and the `HPC_AGENT_*` variables may say. Reads nothing by itself: `load` gives it what it read."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid")

    mode: Mode = Mode.ACT
    node: NodeSection = NodeSection()
    imds: ImdsSection = ImdsSection()
    scratch: ScratchSection = ScratchSection()
    s3: S3Section = S3Section()
    checkpoint: CheckpointSection = CheckpointSection()
    evacuation: EvacuationSection = EvacuationSection()
    capacity_block: CapacityBlockSection = CapacityBlockSection()
    asg: AsgSection = AsgSection()
    policy: PolicySection = Field(default_factory=dict)
    slurm: SlurmSection = SlurmSection()
    jobs: JobsSection = JobsSection()
    http: HttpSection = HttpSection()
    state: StateSection = StateSection()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        del settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)


class Settings(Written):
    """The effective settings. `slurm_conf` is `SLURM_CONF`, empty when it is not set.

    `file` is the file that was asked for, None for the one at the default place: what a child has to be told.
    `origins` says where each key came from: `default`, `file:<path>`, or the name of a variable.
    """

    aws: Aws = Aws()
    slurm_conf: str = ""
    file: Path | None = None
    origins: Mapping[str, str] = Field(default_factory=dict)

    def values(self) -> dict[str, Any]:
        """Return every effective value by its dotted key, in the order of the file."""
        return {key: _at(self, key) for key in self.origins}


def _at(settings: Settings, key: str) -> Any:
    value: Any = settings
    for part in key.split("."):
        value = value[part] if isinstance(value, Mapping) else getattr(value, part)
    return value
