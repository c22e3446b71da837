"""Connections that calls share: what one that is late, or two, mean for the others."""

from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

import pytest

from authz_server.histories.redis_connector import connector
from authz_server.histories.redis_links import Links
from demo.redis_server import Kind, RedisServer

TIMEOUT, SIZE = 0.25, 3


@pytest.fixture
def links(tmp_path: Path) -> Iterator[Links]:
    with RedisServer(Kind.REDIS, tmp_path) as server:
        made = Links(connector(server.url, TIMEOUT), SIZE, TIMEOUT, 2 * TIMEOUT)
        made.open()
        yield made
        made.drop()


@pytest.mark.parametrize(("late", "given"), [(0, True), (1, True), (2, False)])
def test_one_connection_that_is_overdue_leaves_the_others_to_calls_and_two_do_not(links: Links, late: int, given: bool) -> None:
    for _ in range(late):
        link = links.take(wait=True)
        assert link is not None
        link.asked = perf_counter() - 100 * TIMEOUT
        links.hold(link)
    assert given == (links.take(wait=True) is not None)


def test_nobody_waits_for_a_connection_while_one_is_overdue(links: Links) -> None:
    taken = [links.take(wait=True) for _ in range(SIZE)]
    late = taken[0]
    assert late is not None
    late.asked = perf_counter() - 100 * TIMEOUT
    links.hold(late)
    began = perf_counter()
    assert links.take(wait=True) is None
    assert perf_counter() - began < TIMEOUT


def test_what_need_not_wait_gets_no_connection_while_one_is_late(links: Links) -> None:
    """So that a refusal doesn't overtake the visit that it takes back."""
    link = links.take(wait=True)
    assert link is not None
    link.asked = perf_counter()
    links.hold(link)
    assert links.take(wait=False) is None
    links.wait_for_late()
    assert links.take(wait=False) is not None
