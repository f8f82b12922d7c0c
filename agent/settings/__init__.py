"""What the agent was told: a file, the `HPC_AGENT_*` variables and the standard AWS variables, as one frozen value."""

from agent.model.mode import Mode
from agent.settings.load import DEFAULT_FILE, load
from agent.settings.tree import Settings

__all__ = ["DEFAULT_FILE", "Mode", "Settings", "load"]
