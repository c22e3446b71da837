"""Endpoints from raw paths."""

import random
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz_server.engine.call import Call
from authz_server.engine.endpoint import EndpointTable
from tests.factories_engine import call, segments
from tests.partition import merged, parts_of
from trainer import fit_endpoint
from trainer.fit_endpoint import EndpointLearner
from trainer.support import Quorum

NOBODY = Quorum()
UUIDS = ["0b0e3a51-93a5-4bd5-a4f9-52e9e7f6b7a2", "7c9e6679-7425-40de-944b-e07fc1f90ae7"]
SLUGS = [f"{first}-{second}" for first in ("red", "blue", "green", "old", "new") for second in ("hat", "shoe", "coat", "sock")]
MANY = [f"{chr(97 + n % 26)}{chr(97 + n // 26 % 26)}x" for n in range(250)]


def learner(paths: Iterable[str], callers: int = 3, repeat: int = 1) -> EndpointLearner:
    """Learn each path from so many callers, so often; a path may begin with a method."""
    made = EndpointLearner()
    for path in paths:
        method, _, target = path.rpartition(" ")
        for number in range(callers * repeat):
            made.update(call(method or "GET", target), f"c{number % callers}")
    return made


def learned(paths: Iterable[str], callers: int = 3, repeat: int = 1) -> list[str]:
    return learner(paths, callers, repeat).finish(NOBODY)[0]


CASES: list[tuple[str, list[str], list[str]]] = [
    ("names stay", ["/", "/cart", "/cart/items"], ["GET /", "GET /cart", "GET /cart/items"]),
    ("integers", ["/users/1", "/users/22", "/users/333"], ["GET /users/{*}"]),
    ("UUIDs", [f"/users/{uuid}" for uuid in UUIDS], ["GET /users/{*}"]),
    ("hashes, dates, addresses", ["/x/deadbeef1234", "/x/2026-11-02", "/x/bob@example.com"], ["GET /x/{*}"]),
    ("a name beside data", ["/users/me", "/users/7"], ["GET /users/me", "GET /users/{*}"]),
    ("below data", ["/users/7/orders", "/users/8/orders/9"], ["GET /users/{*}/orders", "GET /users/{*}/orders/{*}"]),
    ("versions stay apart", ["/v1/a", "/v2/a"], ["GET /v1/a", "GET /v2/a"]),
    ("methods stay apart", ["GET /a", "POST /a"], ["GET /a", "POST /a"]),
    ("gRPC", ["POST /shop.Cart/Add", "POST /shop.Cart/List"], ["POST /shop.Cart/Add", "POST /shop.Cart/List"]),
    ("a slash at the end", ["/a", "/a/"], ["GET /a", "GET /a/"]),
    ("a double slash", ["/a/b", "//a/b", "/a//b"], ["GET /a/b", "GET /a//b", "GET //a/b"]),
    ("an encoded slash", ["/a/b", "/a%2Fb"], ["GET /a/b", "GET /{*}"]),
    ("few names", [f"/shop/{name}" for name in SLUGS[:7]], [f"GET /shop/{name}" for name in SLUGS[:7]]),
    ("locales", [f"/{locale}/help" for locale in ("de", "en-US", "pt_BR", "zh-Hans")], ["GET /{*}/help"]),
    ("names as short as locales", ["/de/help", "/en/help", "/up/help"], ["GET /de/help", "GET /en/help", "GET /up/help"]),
    ("a great many names", [f"/shop/{name}" for name in MANY], ["GET /shop/{*}"]),
    (
        "data below data",
        [f"/repos/{owner}/{owner}{n}/issues" for owner in MANY for n in range(2)],
        ["GET /repos/{*}/{*}/issues"],
    ),
    (
        "few names above data",
        [f"/{area}/{name}{area}" for area in SLUGS[:7] for name in MANY],
        [f"GET /{area}/{{*}}" for area in SLUGS[:7]],
    ),
    ("a great many names, the same below", [f"/shop/{name}/price" for name in MANY], ["GET /shop/{*}/price"]),
]


@pytest.mark.parametrize(("paths", "endpoints"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_endpoints(paths: list[str], endpoints: list[str]) -> None:
    assert sorted(endpoints) == learned(paths)


def test_names_that_come_once_each_are_data() -> None:
    made = EndpointLearner()
    for number, slug in enumerate(SLUGS):
        made.update(call("GET", f"/shop/{slug}"), f"c{number}")
    assert made.finish(NOBODY) == (["GET /shop/{*}"], 0, 0)


@pytest.mark.parametrize(("name", "times"), [("me", 100), ("popular", 400)], ids=["reserved", "far ahead of the others"])
def test_a_name_among_data_that_look_like_names_stays_one(name: str, times: int) -> None:
    made = EndpointLearner()
    for number, user in enumerate(MANY[:40]):
        for _ in range(1 + (number < 8) * 20):
            made.update(call("GET", f"/users/{user}"), f"c{number}")
    for number in range(times):
        made.update(call("GET", f"/users/{name}"), f"c{number % 40}")
    assert made.finish(NOBODY)[0] == [f"GET /users/{name}", "GET /users/{*}"]


def test_the_most_popular_datum_is_no_name() -> None:
    made = EndpointLearner()
    for number, user in enumerate(MANY):
        for caller in range(500 // (number + 1)):
            made.update(call("GET", f"/users/{user}"), f"c{caller}")
    assert made.finish(NOBODY)[0] == ["GET /users/{*}"]


def test_names_above_data_do_not_merge_with_data_before_a_slash_at_the_end() -> None:
    made = EndpointLearner()
    for number, word in enumerate(MANY):
        for path in (f"/{word}/", f"/tag/{word}", f"/author/{word}/", f"/files/{word}.js"):
            made.update(call("GET", path), f"c{number}")
    assert made.finish(NOBODY)[0] == ["GET /author/{*}/", "GET /files/{*}", "GET /tag/{*}", "GET /{*}/"]


def test_names_that_all_repeat_are_names() -> None:
    assert len(learned([f"/shop/{slug}" for slug in SLUGS], repeat=30)) == len(SLUGS)


def test_siblings_with_different_subtrees_do_not_merge() -> None:
    different = [f"/{name}/{below}" for name, below in zip(SLUGS, ["abc"[n % 3] * (n + 1) for n in range(20)], strict=True)]
    assert not [endpoint for endpoint in learned(different) if "{*}" in endpoint]


def test_names_that_all_repeat_are_names_above_data_too() -> None:
    paths = [f"/{area}/{name}{area}" for area in SLUGS for name in MANY]
    assert learned(paths) == sorted(f"GET /{area}/{{*}}" for area in SLUGS)


def test_a_great_many_of_the_same_sub_trees_are_data_however_often_they_come() -> None:
    paths = [f"/namespaces/{name}/{kind}" for name in MANY[:30] for kind in ("pods", "events")]
    assert learned(paths, repeat=30) == ["GET /namespaces/{*}/events", "GET /namespaces/{*}/pods"]
    assert len(learned([path for path in paths if MANY[12] not in path][:40], repeat=30)) == 40


def test_many_numbers_after_the_same_name_are_data_and_versions_are_not() -> None:
    assert learned([f"/leases/node-{number}" for number in range(8)], repeat=30) == ["GET /leases/{*}"]
    assert len(learned([f"/v{number}/a" for number in range(8)], repeat=30)) == 8


def test_what_a_few_have_in_common_with_two_groups_does_not_make_them_one() -> None:
    made = EndpointLearner()
    for number, word in enumerate(MANY):
        for path in (
            f"/{word}/",
            "/feed/",
            "/feed/atom/",
            f"/de/{word}/",
            f"/de/tag/{word}",
            f"/tag/{word}",
            f"/a/{word}/{word}/b",
        ):
            made.update(call("GET", path), f"c{number}")
    endpoints = ["GET /a/{*}/{*}/b", "GET /de/tag/{*}", "GET /de/{*}/", "GET /tag/{*}", "GET /{*}/"]
    assert set(endpoints) <= set(made.finish(NOBODY)[0])


def test_one_caller_makes_no_endpoint_however_often_it_calls() -> None:
    made = learner(["/cart"])
    for _ in range(1_000):
        made.update(call("GET", "/hidden"), "attacker")
    assert made.finish(NOBODY) == (["GET /cart"], 1, 0)


def test_one_caller_counts_once_however_many_paths_it_invents() -> None:
    made = learner(["/cart"])
    for name in MANY[:100]:
        made.update(call("GET", f"/scan/{name}/{name}"), "attacker")
    assert made.finish(NOBODY)[1] == 1


def test_unusual_methods_are_counted_apart_from_unusual_paths() -> None:
    made = learner(["/cart"])
    for number in range(2):
        made.update(call("TRACE", "/cart"), f"t{number}")
    made.update(call("TRACE", "/hidden"), "other")
    assert made.finish(NOBODY) == (["GET /cart"], 1, 2)


def test_a_heavy_caller_makes_an_endpoint_alone() -> None:
    made = learner(["/cart"], callers=1, repeat=3)
    assert made.finish(Quorum(["c0"]))[0] == ["GET /cart"]


def test_what_is_learned_matches_what_it_was_learned_from() -> None:
    paths = [f"/shop/{name}/price" for name in MANY] + ["/users/7", "/users/me", "/", "/a/", "//a", "/users/7/orders"]
    table = EndpointTable(learned(paths))
    assert not [path for path in paths if not table.match("GET", segments(path))[0]]


TRAFFIC = st.lists(
    st.tuples(
        st.sampled_from(["GET", "POST"]),
        st.lists(st.sampled_from(["a", "b", "7", "me", "", *SLUGS[:12]]), min_size=1, max_size=3).map(
            lambda p: "/" + "/".join(p)
        ),
        st.sampled_from(["", "a", "b", "c", "d"]),
    ),
    max_size=60,
)


@given(TRAFFIC, st.integers(1, 4), st.sampled_from([4, 50_000]), st.randoms(use_true_random=False))
@settings(max_examples=120, deadline=None)
def test_endpoints_do_not_depend_on_order_or_cut_not_even_where_paths_are_sprayed(
    traffic: list[tuple[str, str, str]], parts: int, max_paths: int, rng: random.Random
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit_endpoint, "MAX_PATHS", max_paths)
        observations = [(call(method, path), caller) for method, path, caller in traffic]
        whole = EndpointLearner()
        for observation in observations:
            whole.update(*observation)
        rng.shuffle(observations)

        def update(made: EndpointLearner, observation: tuple[Call, str]) -> None:
            made.update(*observation)

        cut = merged(EndpointLearner, update, parts_of(observations, parts, rng), rng)
        assert whole.finish(NOBODY) == cut.finish(NOBODY)


def test_paths_are_bounded_when_somebody_sprays_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit_endpoint, "MAX_PATHS", 100)
    made = EndpointLearner()
    alphabet = "abcdefghij"
    for number in range(5_000):
        name = "".join(alphabet[int(digit)] for digit in str(number))
        made.update(call("GET", f"/{name}/{name}"), "attacker")
    assert len(made._paths) <= 200
    assert made.finish(NOBODY) == ([], 1, 0)


def test_names_that_are_like_no_other_one_are_compared_with_a_bounded_number_of_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = 0
    overlap = fit_endpoint._overlap

    def counted(one: set[str], other: set[str]) -> bool:
        nonlocal compared
        compared += 1
        return overlap(one, other)

    monkeypatch.setattr(fit_endpoint, "_overlap", counted)
    made = learner([f"/a{name}/b{name}/c{name}" for name in MANY], callers=1)
    made.finish(NOBODY)
    assert compared <= 2 * fit_endpoint._MAX_GROUPS * len(MANY)


def test_one_caller_can_not_displace_endpoints_by_spraying_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit_endpoint, "MAX_PATHS", 500)
    made = EndpointLearner()
    alphabet = "abcdefghij"
    for number in range(20_000):
        name = "".join(alphabet[int(digit)] for digit in str(number))
        made.update(call("GET", f"/{name}/{name}"), "attacker")
        if number % 100 == 0:
            made.update(call("GET", "/items"), f"caller {number}")

    assert (["GET /items"], 1, 0) == made.finish(NOBODY)
