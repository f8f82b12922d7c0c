"""Who we are, asked of IMDS."""

from dataclasses import replace

from agent.imds import documents
from agent.imds.metadata import Metadata
from agent.imds.unavailable import ImdsGarbage
from agent.model.node import Identity


async def identify(imds: Metadata) -> Identity:
    """Return what IMDS says of this instance; `life_cycle` is empty where IMDS has none. Raises ImdsUnavailable."""
    identity = await imds.read(documents.IDENTITY_DOCUMENT, documents.identity_document)
    if identity is None:
        raise ImdsGarbage(documents.IDENTITY_DOCUMENT, "there is none, and every EC2 instance has one")
    life_cycle = await imds.read(documents.LIFE_CYCLE, documents.life_cycle)
    return replace(identity, life_cycle=life_cycle or "")
