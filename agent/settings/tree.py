"""All settings as one value."""

from collections.abc import Mapping
from dataclasses import field, fields, is_dataclass
from typing import Any, Final

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
from agent.value import value

POLICY: Final = "policy"
PREFIX: Final = "HPC_AGENT_"
"""Of every variable that is ours."""


@value
class Written:
    """What the file and the `HPC_AGENT_*` variables may say; of what they do not say, the defaults."""

    mode: Mode = Mode.ACT
    node: NodeSection = NodeSection()
    imds: ImdsSection = ImdsSection()
    scratch: ScratchSection = ScratchSection()
    s3: S3Section = S3Section()
    checkpoint: CheckpointSection = CheckpointSection()
    evacuation: EvacuationSection = EvacuationSection()
    capacity_block: CapacityBlockSection = CapacityBlockSection()
    asg: AsgSection = AsgSection()
    policy: PolicySection = field(default_factory=dict)
    slurm: SlurmSection = SlurmSection()
    jobs: JobsSection = JobsSection()
    http: HttpSection = HttpSection()
    state: StateSection = StateSection()


@value
class Settings(Written):
    """The effective settings. `slurm_conf` is `SLURM_CONF`, empty when it is not set.

    `origins` says where each key came from: `default`, `file:<path>`, or the name of a variable.
    """

    aws: Aws = Aws()
    slurm_conf: str = ""
    origins: Mapping[str, str] = field(default_factory=dict)

    def values(self) -> dict[str, Any]:
        """Return every effective value by its dotted key, in the order of the file."""
        return {key: _at(self, key) for key in self.origins}


def leaves(sections: Any) -> dict[str, Any]:
    """Return every value in `sections` by its dotted key; the policy is one, whatever rules it has."""
    found: dict[str, Any] = {}
    for each in fields(sections):
        value = getattr(sections, each.name)
        if is_dataclass(value):
            found |= {f"{each.name}.{key}": inner for key, inner in leaves(value).items()}
        else:
            found[each.name] = value
    return found


def _at(settings: Settings, key: str) -> Any:
    value: Any = settings
    for part in key.split("."):
        value = value[part] if isinstance(value, Mapping) else getattr(value, part)
    return value
