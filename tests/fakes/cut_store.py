"""A store that goes away in the middle."""

from agent.store.base import StoreUnavailable


class CutStore:
    """A store that breaks down after so many GETs, and knows what was fetched."""

    def __init__(self, store, left):
        self._store, self.left = store, left
        self.fetched = []

    def __getattr__(self, name):
        return getattr(self._store, name)

    def _answer(self, key):
        if self.left == 0:
            raise StoreUnavailable("get", key, "gone")
        self.left -= 1

    async def get(self, key, **place):
        self._answer(key)
        return await self._store.get(key, **place)

    async def fetch(self, key, take, **place):
        self._answer(key)
        await self._store.fetch(key, take, **place)
        self.fetched.append((key, place["offset"]))
