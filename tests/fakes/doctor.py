"""What the doctor asks, played: children by the module or program that they run, findings by name."""

import json

from agent.processes import Finished


class Children:
    """The process port. `answers`: what a command whose line holds the key prints; a dict as JSON, an error is raised.

    The longest key that fits counts; without one a child ends with code 1. `asked` holds the lines, `envs` what was
    added to the environment.
    """

    def __init__(self, answers):
        self.answers = dict(answers)
        self.asked = []
        self.envs = []

    async def run(self, argv, *, seconds, env=None):
        line = " ".join(argv)
        self.asked.append(line)
        self.envs.append(dict(env or {}))
        fitting = [key for key in self.answers if key in line]
        answer = self.answers[max(fitting, key=len)] if fitting else None
        if isinstance(answer, Exception):
            raise answer
        if answer is None:
            return Finished(code=1, out="", err="")
        return Finished(code=0, out=json.dumps(answer) if isinstance(answer, dict) else answer, err="")


def levels(findings):
    return {finding.name: str(finding.level) for finding in findings}
