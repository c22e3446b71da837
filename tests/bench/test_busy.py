"""A bundle of the same service, so many times as busy."""

from pathlib import Path

import msgspec

from authz_server.bundle import load_bundle, write_bundle
from authz_server.engine.observe import Observer
from authz_server.engine.volume import VolumeModel
from bench.busy import write_busy
from tests.factories_engine import NOON, model, normal

KEY = Observer().key_id
VOLUME = VolumeModel(
    3600.0, {"GET /cart/items": 2.0}, normal(64.0), None, normal(640.0), {"session:0": normal(6.0)}, (1.0,) * 168
)


def test_what_is_normal_of_paces_is_multiplied_and_nothing_else(tmp_path: Path) -> None:
    quiet, paceless = model(volume=VOLUME), model(workload="shop/audit")
    write_bundle(tmp_path / "learned", [quiet, paceless], NOON, KEY)
    write_busy(tmp_path / "learned", tmp_path / "busy", KEY)
    made = {name: ready.model for name, ready in load_bundle(tmp_path / "busy", KEY).models.items()}
    busy = msgspec.structs.replace(VOLUME, sessions=normal(64.0e5), workload=normal(640.0e5), own={"session:0": normal(6.0e5)})
    assert {quiet.workload: msgspec.structs.replace(quiet, volume=busy), "shop/audit": paceless} == made
