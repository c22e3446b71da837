import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz_server.setting_readers import address, listen, names, size


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1MiB", 2**20), ("3 KiB", 3072), ("7", 7), ("2tib", 2**41)],
)
def test_a_size_has_binary_units(text: str, expected: int) -> None:
    assert expected == size(0, 2**60)(text)


@given(st.text(max_size=30))
def test_an_address_is_host_and_port_or_refused(text: str) -> None:
    try:
        host, _, port = address(text).rpartition(":")
    except ValueError:
        return
    assert host
    assert 0 <= int(port) <= 65535


def test_a_socket_path_counts_in_bytes() -> None:
    with pytest.raises(ValueError, match=r"^$"):
        listen("unix:" + "é" * 60)


@given(st.lists(st.text("abc/-", min_size=1)))
def test_names_are_distinct_and_in_order(given_names: list[str]) -> None:
    assert tuple(dict.fromkeys(given_names)) == names(",".join(given_names))
