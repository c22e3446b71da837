"""The numeric view: scores, their words, and what the engine does with arrays that may be damaged. Parity: test_fit_numeric."""

import math
import struct
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz_server.engine.calibration import Calibration
from authz_server.engine.decide import to_score
from authz_server.engine.errors import BundleError
from authz_server.engine.figures import FIGURES
from authz_server.engine.finding import FindingCode
from authz_server.engine.model import ReadyModel, decode_model, encode_model
from authz_server.engine.numeric import (
    Clusters,
    Forest,
    NumericModel,
    ReadyClusters,
    ReadyForest,
    ReadyNumeric,
    Spread,
    average_path_length,
)
from authz_server.engine.verdict import to_finding
from tests.factories_engine import (
    call,
    codes,
    endpoint_profile,
    judge,
    model,
    ready,
    surprise,
)

WIDTH = len(FIGURES)
LENGTH = FIGURES.index("characters in all values, as a power of 2")
ENDPOINT = "GET /cart/items"


def forest(**changes: Any) -> Forest:
    """One tree: 5 of 8 calls had at most 3 as the first figure, and of them 4 at most 1 as the second."""
    nodes = [(0, 3.0, 4), (1, 1.0, 3), (-1, 4.0, 0), (-1, 1.0, 0), (-1, 3.0, 0)]
    values: dict[str, Any] = {
        "samples": 8,
        "sizes": (5,),
        "features": struct.pack("<5b", *[node[0] for node in nodes]),
        "thresholds": struct.pack("<5f", *[node[1] for node in nodes]),
        "rights": struct.pack("<5H", *[node[2] for node in nodes]),
    }
    return Forest(**{**values, **changes})


def clusters(**changes: Any) -> Clusters:
    """The first two figures are the components, an unusual body is 10 away; centroids at (0, 0) and (3, 4)."""
    numbers = [1.0 if figure == component else 0.0 for figure in range(WIDTH) for component in range(2)]
    values: dict[str, Any] = {
        "components": 2,
        "categories": ({"none": 0, "form": 1},),
        "numbers": struct.pack(f"<{2 * WIDTH}d", *numbers),
        "hot": struct.pack("<4d", 0, 0, 10, 0),
        "mean": struct.pack("<2d", 0, 0),
        "centroids": struct.pack("<4d", 0, 0, 3, 4),
    }
    return Clusters(**{**values, **changes})


def numeric(**changes: Any) -> NumericModel:
    """One tree, of which a call is told that goes right at the root: longer than usual."""
    tree = {
        "features": struct.pack("<3b", LENGTH, -1, -1),
        "thresholds": struct.pack("<3f", 2.0, 255.0, 1.0),
        "rights": struct.pack("<3H", 2, 0, 0),
        "sizes": (3,),
        "samples": 256,
    }
    held_out = Calibration(9_999, 500, (0.5,), (0,))
    values: dict[str, Any] = {
        "n": 9_999,
        "spreads": {"": Spread((0.0,) * WIDTH, (1.0,) * WIDTH)},
        "forest": forest(**tree, calibration=held_out),
    }
    return NumericModel(**{**values, **changes})


def row(*figures: float) -> list[float]:
    return [*figures, *[0.0] * (WIDTH - len(figures))]


@pytest.mark.parametrize(("n", "length"), [(0, 0.0), (1, 0.0), (2, 1.0), (3, 1.2073923578), (256, 10.2447709201)])
def test_average_path_length(n: int, length: float) -> None:
    assert length == pytest.approx(average_path_length(n), abs=1e-9)


def test_a_tree_is_walked_to_its_leaf() -> None:
    norm = average_path_length(8)
    depths = {(0, 0): 2 + average_path_length(4), (3, 1.5): 2, (3.5, 0): 1 + average_path_length(3)}
    for place, depth in depths.items():
        assert 2 ** -(depth / norm) == pytest.approx(ReadyForest(forest()).score(row(*place)))


def test_a_figure_at_the_threshold_goes_left_in_the_precision_of_float32() -> None:
    scores = [ReadyForest(forest()).score(row(figure)) for figure in (3.0, 3.0 + 1e-9, 3.0 + 1e-6)]
    assert scores[0] == scores[1]
    assert scores[1] != scores[2]


def test_the_score_of_a_forest_is_higher_where_calls_are_alone() -> None:
    score = ReadyForest(forest()).score
    assert score(row(3, 1.5)) > score(row(0, 0))


def test_clusters_measure_the_distance_to_the_nearest_centroid() -> None:
    score = ReadyClusters(clusters()).score
    assert [0.0, 0.0, 2.0] == [score(row(*place), ["none"]) for place in [(0, 0), (3, 4), (3, 6)]]
    assert 10.0 == score(row(3, 4), ["form"]) + 10.0 - math.hypot(10, 0)  # (13, 4) is 10 away from (3, 4)


def test_an_unknown_category_is_none() -> None:
    assert 0.0 == ReadyClusters(clusters()).score(row(), ["grpc"])


DAMAGED: dict[str, Forest | Clusters] = {
    "too few nodes": forest(sizes=(6,)),
    "an empty tree": forest(sizes=(5, 0)),
    "a circle": forest(rights=struct.pack("<5H", 0, 3, 0, 0, 0)),
    "a right child that is the left one": forest(rights=struct.pack("<5H", 1, 3, 0, 0, 0)),
    "out of the tree": forest(rights=struct.pack("<5H", 4, 900, 0, 0, 0)),
    "into the next tree": forest(sizes=(4, 1)),
    "an unknown figure": forest(features=struct.pack("<5b", WIDTH, 1, -1, -1, -1)),
    "half a float": clusters(mean=b"123"),
    "too few rows": clusters(hot=struct.pack("<2d", 0, 0)),
    "a category out of the matrix": clusters(categories=({"none": 0, "form": 2},)),
    "no centroid": clusters(centroids=b""),
    "no component": clusters(components=0, numbers=b"", hot=b"", mean=b"", centroids=b""),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_arrays_are_refused(name: str) -> None:
    damaged = DAMAGED[name]
    with pytest.raises(BundleError):
        ReadyForest(damaged) if isinstance(damaged, Forest) else ReadyClusters(damaged)


@pytest.mark.parametrize("spreads", [{}, {"": Spread((0.0,), (1.0,))}, {"": Spread((0.0,) * WIDTH, (0.0,) * WIDTH)}])
def test_damaged_spreads_are_refused(spreads: dict[str, Spread]) -> None:
    with pytest.raises(BundleError):
        ReadyNumeric(numeric(spreads=spreads))


@given(st.lists(st.integers(-128, 127), max_size=12), st.lists(st.integers(0, 12), min_size=12, max_size=12), st.integers(0, 12))
def test_any_arrays_give_a_score_or_a_bundle_error(features: list[int], rights: list[int], cut: int) -> None:
    n = len(features)
    made = forest(
        sizes=(cut, n - cut),
        features=struct.pack(f"<{n}b", *features),
        thresholds=struct.pack(f"<{n}f", *range(n)),
        rights=struct.pack(f"<{n}H", *rights[:n]),
    )
    try:
        scorer = ReadyForest(made)
    except BundleError:
        return
    assert 0 < scorer.score(row()) <= 1


def test_a_call_as_a_whole_is_told_with_the_figures_that_deviate_most() -> None:
    made = ready({ENDPOINT: endpoint_profile()}, numeric=numeric())
    usual, odd = (judge(call("GET", f"/cart/items?q={'a' * n}"), made).surprises for n in (1, 100))
    assert FindingCode.NUMERIC_FOREST not in codes(usual)
    finding = to_finding(next(one for one in odd if one.code is FindingCode.NUMERIC_FOREST), ENDPOINT)
    assert finding.text.startswith("the call as a whole is unusual: characters in all values, as a power of 2: 6.66; ")
    assert finding.text.endswith(
        "in 9,999 calls: characters in all values, as a power of 2: about 0; "
        "characters in the longest value, as a power of 2: about 0; number of values: about 0"
    )


def test_the_numeric_view_is_a_further_view_of_values_that_were_judged() -> None:
    length = surprise(code=FindingCode.LENGTH, amount=4.0)
    whole = surprise(code=FindingCode.NUMERIC_FOREST, amount=2.0, key="")
    assert (4.0, 0.5, 4.5) == (to_score([length]), to_score([whole]), to_score([whole, length]))


def test_clusters_are_told_too() -> None:
    held_out = Calibration(9_999, 500, (0.5,), (0,))
    column = {"": 0}
    made = clusters(categories=(column, {"none": 1}, {}), hot=struct.pack("<4d", 0, 0, 0, 0), calibration=held_out)
    found = ReadyNumeric(numeric(forest=None, clusters=made)).score(
        call("GET", "/cart/items?a=1&b=2"), ENDPOINT, (), endpoint_profile()
    )
    assert [FindingCode.NUMERIC_CLUSTER] == codes(found)
    assert found[0].normal.startswith("near one of 2 groups of calls: ")


def test_without_a_numeric_model_nothing_is_asked() -> None:
    assert ready().numeric is None


def test_a_numeric_model_survives_the_bundle() -> None:
    made = model(numeric=numeric(clusters=clusters()))
    assert made == decode_model(encode_model(made))
    assert ReadyModel(decode_model(encode_model(made)), "r").numeric is not None


def test_a_model_from_before_the_numeric_view_is_read() -> None:
    fields = msgspec.json.decode(encode_model(model()))
    del fields["numeric"]
    assert model() == decode_model(msgspec.json.encode(fields))
