"""What a file is by its first bytes."""

import pytest

from authz_server.engine.bodies.leaf import rounded_size
from authz_server.engine.bodies.magic import disagrees, magic

FILES = [
    (b"", "empty"),
    (b"hello", "text"),
    (b"caf\xc3\xa9", "text"),
    (b"caf\xe9", "binary"),
    (b"a\x00b", "binary"),
    (b"\xc3\xa9" * 400, "text"),
    (b"a" + b"\xc3\xa9" * 400, "text"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff\xe0", "jpeg"),
    (b"GIF89a<?php", "gif"),
    (b"RIFF\0\0\0\0WEBPVP8", "webp"),
    (b"\0\0\0\x18ftypmp42", "mp4"),
    (b"%PDF-1.7", "pdf"),
    (b"PK\3\4", "zip"),
    (b"\x1f\x8b\x08", "gzip"),
    (b"\x7fELF", "elf"),
    (b"MZ\x90", "pe"),
    (b"\xac\xed\x00\x05sr", "java-serialized"),
    (b"\x80\x04\x95\0", "pickle"),
    (b"x" * 257 + b"ustar", "tar"),
    (b"#!/bin/sh", "script"),
    (b" \n<?PHP x", "php"),
    (b"\xef\xbb\xbf<?xml ?>", "xml"),
    (b"<!DOCTYPE HTML>", "html"),
    (b"<svg onload=x>", "svg"),
]


@pytest.mark.parametrize(("data", "name"), FILES)
def test_magic(data: bytes, name: str) -> None:
    assert name == magic(data)


@pytest.mark.parametrize(
    ("media", "found", "expected"),
    [("image/png", "png", False), ("image/png", "php", True), ("image/x-unknown", "elf", False), ("", "elf", False)],
)
def test_disagrees(media: str, found: str, expected: bool) -> None:
    assert expected == disagrees(media, found)


@pytest.mark.parametrize(
    ("size", "rounded"), [(0, 0), (7, 7), (99, 99), (100, 100), (109, 100), (1_999, 1_900), (123_456, 120_000)]
)
def test_rounded_size(size: int, rounded: int) -> None:
    assert rounded == rounded_size(size)
