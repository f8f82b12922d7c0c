"""Instance metadata without a wire: answers what the test put there."""

from agent.imds.unavailable import ImdsUnavailable, Reason


class FakeMetadata:
    """`paths` holds bodies; while `broken` is set every question fails with it. `asked`: (path, urgent), in order."""

    def __init__(self, paths=None):
        self.paths = dict(paths or {})
        self.broken: Reason | None = None
        self.asked = []

    async def read(self, path, parse, *, urgent=False):
        self.asked.append((path, urgent))
        if self.broken is not None:
            raise ImdsUnavailable("ask for", path, "as the test said", reason=self.broken)
        body = self.paths.get(path)
        return None if body is None else parse(body)
