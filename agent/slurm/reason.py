"""The drain reason: a contract between one life of a node and the next, and with whoever reads `sinfo -R`.

`hpc-agent: <kind> <instance-id> boot=<8 hex> until=<UTC>`
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Self

from agent.model.node import BootId, InstanceId
from agent.value import value

GRACE = timedelta(minutes=10)
"""How long after its deadline a drain of ours is believed when nobody can tell whether the notice still stands."""

UNKNOWN = "-"
_FORM = re.compile(
    r"hpc-agent: (?P<kind>[a-z]+(?:-[a-z]+)*) (?P<instance>[A-Za-z0-9._-]+) "
    r"boot=(?P<boot>[0-9a-f]{8}) until=(?P<until>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)",
    re.ASCII,
)


@value
class Reason:
    """Why we drained: `kind` is a NoticeKind, or another version's word for one; `instance_id` is "" away from EC2.

    `boot` is the start of the boot id (`boot_of`); `until` is kept in UTC, to the second. Raises ValueError for a part
    that could not be read back.
    """

    kind: str
    instance_id: str
    boot: str
    until: datetime

    def __post_init__(self) -> None:
        object.__setattr__(self, "until", self.until.astimezone(UTC).replace(microsecond=0))
        if not _FORM.fullmatch(str(self)):
            raise ValueError(f"not a reason that could be read back: {self}")

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read a reason; None for any that is not, to the letter, one of ours."""
        match = _FORM.fullmatch(text)
        if match is None:
            return None
        instance_id = "" if match["instance"] == UNKNOWN else match["instance"]
        try:
            until = datetime.strptime(match["until"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
            return cls(kind=match["kind"], instance_id=instance_id, boot=match["boot"], until=until)
        except ValueError:
            return None

    def __str__(self) -> str:
        until = f"{self.until:%Y-%m-%dT%H:%M:%SZ}"
        return f"hpc-agent: {self.kind} {self.instance_id or UNKNOWN} boot={self.boot} until={until}"

    def is_of(self, *, instance_id: InstanceId, boot_id: BootId) -> bool:
        """Tell whether this life of the node wrote it, not a predecessor. An unknown instance id tells nothing."""
        other = self.instance_id and instance_id and self.instance_id != instance_id
        return self.boot == boot_of(boot_id) and not other


def boot_of(boot_id: BootId) -> str:
    """Return the 8 hex digits that stand for a boot id."""
    return boot_id.replace("-", "").lower()[:8]


def is_ours_to_lift(
    reason: Reason, *, instance_id: InstanceId, boot_id: BootId, now: datetime, has_live_notice: bool | None
) -> bool:
    """Tell whether a drain with our reason may be lifted; a drain with any other reason never is.

    Yes for a predecessor's, and for our own once no notice stands. `has_live_notice` is None as long as IMDS has not
    answered: then our own is kept until 10 minutes past its deadline. With a live notice nothing is lifted: the drain
    is about to be ours again.
    """
    if has_live_notice:
        return False
    if not reason.is_of(instance_id=instance_id, boot_id=boot_id):
        return True
    return has_live_notice is False or now > reason.until + GRACE
