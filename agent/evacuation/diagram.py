"""The picture of the state machine, drawn from its table so that it can't lie: `python -m agent.evacuation.diagram`."""

from agent.evacuation.phases import ARROWS, NUMBERS, Phase


def mermaid() -> str:
    """Return ARROWS as a Mermaid state diagram; causes that lead the same way share an arrow."""
    lines = ["stateDiagram-v2", f"    [*] --> {Phase.WATCHING}"]
    for phase in sorted(ARROWS, key=NUMBERS.__getitem__):
        ways: dict[Phase, list[str]] = {}
        for cause, following in ARROWS[phase].items():
            ways.setdefault(following, []).append(cause)
        lines += [f"    {phase} --> {following}: {', '.join(causes)}" for following, causes in ways.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    print(mermaid())  # noqa: T201 - a program's output
