from authz_server.engine.observe import Observer
from authz_server.engine.policy import Enforcement, Rule, SessionSource, WorkloadPolicy
from tests.factories import raw_call
from trainer.importers.imported import ImportedCall, to_record

OBSERVER = Observer()


def test_record_has_no_clear_values() -> None:
    imported = ImportedCall(1, raw_call(target="/cart/17/items?note=my+secret+plan", session="alice"), status=200, label=0)
    stored = to_record(imported, OBSERVER, (), "id-1")
    assert (200, 0, "id-1") == (stored.status, stored.label, stored.id)
    assert not [word for word in ("secret", "plan", "alice", "17") if word in stored.path + stored.session]
    assert "aa aaaaaa aaaa" in [seen.text for seen in stored.parameters]


def test_sessions_are_read_where_the_policy_of_the_workload_says() -> None:
    policy = Enforcement(Rule(session=()), {"shop/cart": WorkloadPolicy(session=(SessionSource(cookie="sid"),))})
    here = to_record(ImportedCall(1, raw_call()), OBSERVER, policy, "1")
    elsewhere = to_record(ImportedCall(1, raw_call(workload="shop/pay")), OBSERVER, policy, "2")
    assert (True, False) == (bool(here.session), bool(elsewhere.session))
