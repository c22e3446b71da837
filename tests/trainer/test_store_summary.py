from pathlib import Path

from tests.factories import KEY_ID, outcome_record, record
from trainer.store_summary import summary
from trainer.store_writer import StoreWriter


def test_summary_counts_what_is_there(tmp_path: Path) -> None:
    with StoreWriter(str(tmp_path), KEY_ID) as writer:
        writer.put(record(id="1", ts=10.0))
        writer.put(record(id="2", ts=12.0, workload="shop/pay", label=1, attack="sqli"))
        writer.put(outcome_record(id="1", ts=10.0, status=204))
    found = summary(str(tmp_path))
    assert (2, 1, 10.0, 12.0) == (found.segments, found.writers, found.first, found.last)
    assert {"shop/cart": 1, "shop/pay": 1} == found.workloads
    assert {"2xx": 1, "unknown": 1} == found.statuses
    assert {"sqli": 1} == found.attacks
    assert 1 == found.reading.joined


def test_summary_of_an_empty_store_is_empty(tmp_path: Path) -> None:
    found = summary(str(tmp_path))
    assert (0, None, None) == (found.segments, found.first, found.last)
