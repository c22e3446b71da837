"""XML: paths, and everything that XML readers have been attacked with."""

import pytest

from authz_server.engine.bodies.leaf import MAX_DEPTH, MAX_LEAVES
from authz_server.engine.bodies.xml_ import MAX_ELEMENTS, to_leaves
from authz_server.engine.call import Flag

SOAP = b"""<?xml version="1.0" encoding="UTF-8"?>
<soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/" xmlns="urn:x">
  <soap:Body><pay id="7" soap:mustUnderstand="1"><amount>12.50</amount><note/></pay></soap:Body>
</soap:Envelope>"""

DOCUMENTS: list[tuple[bytes, list[tuple[str, str]], set[Flag]]] = [
    (
        SOAP,
        [
            ("/Envelope/Body/pay/@id", "7"),
            ("/Envelope/Body/pay/@mustUnderstand", "1"),
            ("/Envelope/Body/pay/amount", "12.50"),
            ("/Envelope/Body/pay/note", ""),
        ],
        set(),
    ),
    (b"<a><b>1</b><b>2</b></a>", [("/a/b", "1"), ("/a/b", "2")], set()),
    (b"<a>x<b>1</b>y</a>", [("/a", "x"), ("/a/b", "1"), ("/a", "y")], set()),
    (b"<a><![CDATA[<b>&x;]]></a>", [("/a", "<b>&x;")], set()),
    (b"<a>&lt;&amp;&#65;</a>", [("/a", "<&A")], set()),
    (b"<a><!-- <b/> --><?pi x?></a>", [("/a", "")], set()),
    (b"<a x='1'/>", [("/a/@x", "1")], set()),
    (b"<x123456>1</x123456>", [("/{*}", "1")], set()),
    ("<a>\u00e9</a>".encode(), [("/a", "\u00e9")], set()),
    ("<?xml version='1.0' encoding='ISO-8859-1'?><a>\u00e9</a>".encode("latin-1"), [("/a", "\u00e9")], set()),
    ("<?xml version='1.0' encoding='UTF-16'?><a>\u00e9</a>".encode("utf-16"), [("/a", "\u00e9")], set()),
    (b"<?xml version='1.0' encoding='utf-7'?><a>x</a>", [("/a", "x")], {Flag.BAD_ENCODING}),
    (b"<?xml version='1.0' encoding='idna'?><a>x</a>", [("/a", "x")], {Flag.BAD_ENCODING}),
    (b"<a>\xff</a>", [], {Flag.MALFORMED_BODY}),
    (b"<a><b>1</b>", [("/a/b", "1")], {Flag.MALFORMED_BODY}),
    (b"<a>1</b>", [], {Flag.MALFORMED_BODY}),
    (b"<a x='1' x='2'/>", [], {Flag.MALFORMED_BODY}),
    (b"<a>1</a><b/>", [("/a", "1")], {Flag.MALFORMED_BODY}),
    (b"<a>&x;</a>", [], {Flag.MALFORMED_BODY}),
    (b"", [], {Flag.MALFORMED_BODY}),
    (b"{}", [], {Flag.MALFORMED_BODY}),
]


@pytest.mark.parametrize(("data", "values", "flags"), DOCUMENTS)
def test_to_leaves(data: bytes, values: list[tuple[str, str]], flags: set[Flag]) -> None:
    found: set[Flag] = set()
    leaves = to_leaves(data, found)
    assert (values, flags) == ([(name, value) for name, value, _, _ in leaves], found)


LAUGHS = (
    b"<!DOCTYPE a [<!ENTITY l0 'lol'>"
    + b"".join(b"<!ENTITY l%d '%s'>" % (i, b"&l%d;" % (i - 1) * 10) for i in range(1, 10))
    + b"]><a>&l9;</a>"
)
DANGEROUS = {
    "billion laughs": LAUGHS,
    "quadratic blow-up": b"<!DOCTYPE a [<!ENTITY x '" + b"y" * 50_000 + b"'>]><a>" + b"&x;" * 5_000 + b"</a>",
    "external entity": b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>',
    "external document type": b'<!DOCTYPE a SYSTEM "http://127.0.0.1:1/x.dtd"><a>1</a>',
    "public document type": b'<!DOCTYPE a PUBLIC "x" "http://127.0.0.1:1/x.dtd"><a>1</a>',
    "parameter entity": b'<!DOCTYPE a [<!ENTITY % x SYSTEM "http://127.0.0.1:1/"> %x;]><a>1</a>',
    "default attribute": b"<!DOCTYPE a [<!ATTLIST a admin CDATA 'yes'>]><a/>",
    "in UTF-16": LAUGHS.decode().encode("utf-16"),
    "never ends": b"<!DOCTYPE a [" + b"<!ENTITY x 'y'>" * 50_000,
}


@pytest.mark.parametrize("case", DANGEROUS)
def test_document_type_is_a_flag_and_nothing_behind_it_is_read(case: str) -> None:
    flags: set[Flag] = set()
    assert (to_leaves(DANGEROUS[case], flags), flags) == ([], {Flag.DOCTYPE})


def test_depth_width_and_number_are_bounded() -> None:
    for data, most in [
        (b"<a>" * 100_000, 0),
        (b"<a>" * 500 + b"1" + b"</a>" * 500, 0),
        (b"<a>" + b"<b>1</b>" * 100_000 + b"</a>", MAX_LEAVES),
        (b"<a>" + b"<b><c/></b>" * 100_000 + b"</a>", MAX_LEAVES),
        (b"<a>" + b"<b x='1'>" * MAX_ELEMENTS, MAX_DEPTH),
        (
            b"<a "
            + b" ".join(
                b"%s='1'" % name.encode()
                for name in (f"{x}{y}" for x in "abcdefghijklmnop" for y in "abcdefghijklmnopqrstuvwxyz")
            )
            + b"/>",
            MAX_LEAVES,
        ),
    ]:
        flags: set[Flag] = set()
        assert len(to_leaves(data, flags)) == most
        assert Flag.TOO_MANY in flags


def test_what_lies_too_deep_is_left_out_and_the_rest_is_read() -> None:
    flags: set[Flag] = set()
    deep = b"<d>" * MAX_DEPTH + b"<e>no</e>" + b"</d>" * MAX_DEPTH
    leaves = to_leaves(b"<a>" + deep + b"<b>yes</b></a>", flags)
    assert ([("/a/b", "yes", 0, False)], {Flag.TOO_MANY}) == (leaves, flags)
