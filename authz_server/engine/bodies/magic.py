"""What a file is by its first bytes: one word. For bodies that are read no further, and for files in forms.

Signatures from the formats' own specifications, as collected in file(1)'s magic and the WHATWG MIME Sniffing standard. Says
nothing about what follows the first bytes: a file may be two things at once.
"""

from typing import Final

from authz_server.engine.bodies.leaf import Fact, Leaf, rounded_size

__all__ = ["disagrees", "magic", "to_leaves"]

_SAMPLE: Final = 512
"""Bytes looked at to tell text from binary."""

_SIGNATURES: Final[tuple[tuple[int, bytes, str], ...]] = (
    (0, b"\x89PNG\r\n\x1a\n", "png"),
    (0, b"\xff\xd8\xff", "jpeg"),
    (0, b"GIF87a", "gif"),
    (0, b"GIF89a", "gif"),
    (8, b"WEBP", "webp"),
    (8, b"WAVE", "wav"),
    (8, b"AVI ", "avi"),
    (4, b"ftyp", "mp4"),
    (0, b"BM", "bmp"),
    (0, b"II*\x00", "tiff"),
    (0, b"MM\x00*", "tiff"),
    (0, b"\x00\x00\x01\x00", "ico"),
    (0, b"%PDF-", "pdf"),
    (0, b"%!PS", "postscript"),
    (0, b"{\\rtf", "rtf"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "ole"),
    (0, b"PK\x03\x04", "zip"),
    (0, b"PK\x05\x06", "zip"),
    (0, b"\x1f\x8b", "gzip"),
    (0, b"BZh", "bzip2"),
    (0, b"\xfd7zXZ\x00", "xz"),
    (0, b"\x28\xb5\x2f\xfd", "zstd"),
    (0, b"7z\xbc\xaf\x27\x1c", "7z"),
    (0, b"Rar!\x1a\x07", "rar"),
    (257, b"ustar", "tar"),
    (0, b"ID3", "mp3"),
    (0, b"OggS", "ogg"),
    (0, b"fLaC", "flac"),
    (0, b"\x1a\x45\xdf\xa3", "matroska"),
    (0, b"\x7fELF", "elf"),
    (0, b"MZ", "pe"),
    (0, b"\xfe\xed\xfa", "macho"),
    (0, b"\xcf\xfa\xed\xfe", "macho"),
    (0, b"\xca\xfe\xba\xbe", "class"),
    (0, b"\xac\xed\x00\x05", "java-serialized"),
    (0, b"\x80\x02", "pickle"),
    (0, b"\x80\x03", "pickle"),
    (0, b"\x80\x04\x95", "pickle"),
    (0, b"\x80\x05\x95", "pickle"),
    (0, b"\x00asm", "wasm"),
    (0, b"SQLite format 3\x00", "sqlite"),
    (0, b"PAR1", "parquet"),
)
_TEXT_SIGNATURES: Final[tuple[tuple[bytes, str], ...]] = (
    (b"#!", "script"),
    (b"<?php", "php"),
    (b"<?=", "php"),
    (b"<%", "asp"),
    (b"<?xml", "xml"),
    (b"<!doctype html", "html"),
    (b"<html", "html"),
    (b"<script", "html"),
    (b"<svg", "svg"),
    (b"-----begin", "pem"),
    (b"o:", "php-serialized"),
)
_FIRST: Final = frozenset(signature[0] for offset, signature, _ in _SIGNATURES if offset == 0)

_EXPECTED: Final[dict[str, frozenset[str]]] = {
    "image/png": frozenset({"png"}),
    "image/jpeg": frozenset({"jpeg"}),
    "image/gif": frozenset({"gif"}),
    "image/webp": frozenset({"webp"}),
    "image/bmp": frozenset({"bmp"}),
    "image/svg+xml": frozenset({"svg", "xml"}),
    "application/pdf": frozenset({"pdf"}),
    "application/zip": frozenset({"zip"}),
    "application/gzip": frozenset({"gzip"}),
    "text/plain": frozenset({"text", "script", "pem", "xml", "html", "svg", "php", "asp", "php-serialized", "empty"}),
    "text/csv": frozenset({"text", "empty"}),
}
"""What a content type promises; one without entry promises nothing."""


def magic(data: bytes) -> Fact:
    """Name a file type; `text` (UTF-8 without control characters), `binary` or `empty` where no signature fits."""
    if not data:
        return Fact("empty")
    for offset, signature, name in _SIGNATURES if data[0] in _FIRST or len(data) > 8 else ():
        if data.startswith(signature, offset):
            return Fact(name)
    sample = data[:_SAMPLE]
    start = sample.removeprefix(b"\xef\xbb\xbf").lstrip()[:16].lower()
    for signature, name in _TEXT_SIGNATURES:
        if start.startswith(signature):
            return Fact(name)
    return Fact("text" if _is_text(sample) else "binary")


def _is_text(sample: bytes) -> bool:
    if sample.translate(None, _NOT_IN_TEXT) != sample:
        return False
    try:
        sample.decode()
    except UnicodeDecodeError as error:
        return len(sample) == _SAMPLE and error.start > _SAMPLE - 4  # a character cut by the sample's end
    return True


_NOT_IN_TEXT: Final = bytes(i for i in (*range(32), 127) if i not in b"\t\n\r\f")


def disagrees(media: str, found: str) -> bool:
    """Tell whether a content type promises another file than the bytes are."""
    expected = _EXPECTED.get(media)
    return expected is not None and found not in expected


def to_leaves(prefix: str, data: bytes) -> list[Leaf]:
    """Say no more of some bytes than their size (two digits) and what they begin like."""
    return [(prefix + "size", rounded_size(len(data)), 0, True), (prefix + "magic", magic(data), 0, False)]
