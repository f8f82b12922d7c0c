"""The XML that S3 and we send each other."""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Final
from urllib.parse import unquote_plus
from xml.etree import ElementTree as ET
from xml.etree.ElementTree import Element

from agent.aws.wire.connection import Lost
from agent.checksum import from_base64, to_base64
from agent.store.base import Part, Stored

_NAMESPACE: Final = "http://s3.amazonaws.com/doc/2006-03-01/"


Listed = tuple[str, Part]


class Document:
    """An answer in XML; names without their namespace.

    Raises Lost for what is none, or of another kind than those expected: it was cut, or is the page of a proxy.
    """

    def __init__(self, raw: bytes, *kinds: str) -> None:
        try:
            # Expat 2.4 and later refuse entities that grow; and it is S3's, over TLS.
            self._root = ET.fromstring(raw)  # noqa: S314
        except ET.ParseError as error:
            raise Lost(f"what came is no XML: {raw[:60]!r}") from error
        self.kind = self._root.tag.rpartition("}")[2]
        if kinds and self.kind not in kinds:
            raise Lost(f"what came is <{self.kind}>, not <{kinds[0]}>")

    def text(self, name: str) -> str:
        """Return what an element holds, "" when it is not there."""
        return _text(self._root, name)

    def next_page(self, name: str) -> str:
        """Return where the next page begins, "" after the last."""
        return self.text(name) if self.text("IsTruncated") == "true" else ""

    def parts(self) -> Sequence[Listed]:
        """Return the parts of ListParts, each after the time of its writing."""
        with _readable():
            return [(_text(each, "LastModified"), _part(each)) for each in self._all("Part")]

    def contents(self) -> Sequence[Stored]:
        """Return the objects of ListObjectsV2, whose keys come as in a URL."""
        with _readable():
            return [_stored(each) for each in self._all("Contents")]

    def _all(self, name: str) -> Iterable[Element]:
        return self._root.iterfind(f"{{*}}{name}")


def newest(listed: Iterable[Listed]) -> Sequence[Part]:
    """Return the parts by number. SeaweedFS lists every part ever sent by a number; S3 only the last."""
    found = {part.number: part for _, part in sorted(listed, key=lambda each: each[0])}
    return [found[number] for number in sorted(found)]


def completion(parts: Sequence[Part]) -> bytes:
    """Return the body of CompleteMultipartUpload: parts with their checksums, where we know them."""
    listed = "".join(
        "<Part>"
        + (f"<ChecksumCRC64NVME>{to_base64(part.crc64nvme)}</ChecksumCRC64NVME>" if part.crc64nvme else "")
        + f"<ETag>{_escaped(part.etag)}</ETag><PartNumber>{part.number}</PartNumber></Part>"
        for part in parts
    )
    return f'<CompleteMultipartUpload xmlns="{_NAMESPACE}">{listed}</CompleteMultipartUpload>'.encode()


@contextlib.contextmanager
def _readable() -> Iterator[None]:
    """Raise Lost for a number or a time that is none."""
    try:
        yield
    except ValueError as error:
        raise Lost(f"what came can't be read: {error}") from error


def _stored(said: Element) -> Stored:
    return Stored(
        key=unquote_plus(_text(said, "Key")),
        size=int(_text(said, "Size")),
        modified=datetime.fromisoformat(_text(said, "LastModified")),
    )


def _part(said: Element) -> Part:
    checksum = _text(said, "ChecksumCRC64NVME")
    return Part(
        number=int(_text(said, "PartNumber")),
        etag=_text(said, "ETag"),
        size=int(_text(said, "Size")),
        crc64nvme=from_base64(checksum) if checksum else 0,
    )


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")


def _text(element: Element, name: str) -> str:
    return (element.findtext(f"{{*}}{name}") or "").strip()
