"""The sample mesh: which workloads there are, who calls whom, and how all of it is started and stopped.

`with Mesh(directory, AuthzServer(...)) as mesh` has a gateway, each service and its sidecar, and the authz server up;
`mesh.gateway` is where clients call, `mesh.restart_authz` runs the server with other settings while the mesh stays up.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self

from demo.envoy_config import Authz, Destination, Gateway, Inbound, Outbound, Sidecar, gateway, save, sidecar
from demo.identities import Authority, Identity, TlsFiles
from demo.processes import DemoError, Process, accepts, answers, free_ports, start_envoy, stop_all

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter

GATEWAY = Identity("istio-system", "ingressgateway")
HISTORY_TIMEOUT_MS = 150
"""Three times the default: everything runs on one machine here, which may be busy, and after a timeout nobody is judged for 5 s.
Below the 250 ms that Envoy waits for a Check."""


@dataclass(frozen=True, slots=True)
class Workload:
    """One service of the mesh. `versions` run as processes of their own under one identity."""

    identity: Identity
    versions: tuple[str, ...] = ("v1",)
    public: str | None = None

    @property
    def name(self) -> str:
        """The host name inside the mesh."""
        return f"{self.identity.name}.{self.identity.namespace}"


SHOP = Workload(Identity("shop", "shop"), public="shop.demo.local")
WORKLOADS = (
    Workload(Identity("bookinfo", "ratings")),
    Workload(Identity("bookinfo", "reviews"), versions=("v1", "v2", "v3")),
    Workload(Identity("bookinfo", "details")),
    Workload(Identity("bookinfo", "productpage"), public="bookinfo.demo.local"),
    Workload(Identity("shop", "audit")),
    SHOP,
)


@dataclass(frozen=True, slots=True)
class AuthzServer:
    """How the authz server is run: its mode (`dry_run` or `enforce`) and where it reads and writes."""

    mode: str
    policy: Path
    record: Path | None
    decision_log: Path
    bundle: Path | None = None
    history: str = "memory"

    def command(self, listen: str, admin: str) -> list[str]:
        """The command line, as DESIGN.md section 6 has it."""
        command = [sys.executable, "-m", "authz_server", "serve", "--listen", listen, "--admin", admin]
        command += ["--mode", self.mode, "--policy", str(self.policy), "--decision-log", str(self.decision_log)]
        command += ["--history", self.history, "--history-timeout-ms", str(HISTORY_TIMEOUT_MS)]
        for flag, directory in (("--record", self.record), ("--bundle", self.bundle)):
            command += [flag, str(directory)] if directory is not None else []
        return command


@dataclass(frozen=True, slots=True)
class Instance:
    """One process of a workload with its sidecar, and their ports."""

    workload: Workload
    version: str
    service: int
    inbound: int
    outbound: int
    admin: int

    @property
    def name(self) -> str:
        """A name for logs and files."""
        plain = f"{self.workload.identity.namespace}-{self.workload.identity.name}"
        return f"{plain}-{self.version}" if len(self.workload.versions) > 1 else plain


@dataclass(frozen=True, slots=True)
class Replica:
    """A second authz server and the gateway whose calls it shares with the first, each as host:port."""

    gateway: str
    listen: str
    admin: str


@dataclass(slots=True)
class Mesh:
    """All processes of the sample mesh. Files go to `directory`: certs/, envoy/ and logs/."""

    directory: Path
    authz: AuthzServer
    asks: bool = True
    """Whether sidecars ask the authz server."""
    filters: Mapping[str, Sequence[HttpFilter]] = field(default_factory=dict)
    """The mesh's own policy as filters on what arrives, by `namespace/name`."""
    _instances: list[Instance] = field(default_factory=list)
    _certificates: dict[str, TlsFiles] = field(default_factory=dict)
    """By workload; the gateway's is under the empty name."""
    _processes: list[Process] = field(default_factory=list)
    _replica: list[Process] = field(default_factory=list)
    _authz_process: Process | None = None
    _ports: list[int] = field(default_factory=lambda: free_ports(4))

    @property
    def gateway(self) -> str:
        """Where clients call, as host:port; the Host header chooses between shop and bookinfo."""
        return f"127.0.0.1:{self._ports[0]}"

    @property
    def authz_admin(self) -> str:
        """The URL of the authz server's admin address."""
        return f"http://127.0.0.1:{self._ports[3]}"

    @property
    def admin_urls(self) -> dict[str, str]:
        """Each Envoy's admin address by its name."""
        urls = {instance.name: f"http://127.0.0.1:{instance.admin}" for instance in self._instances}
        return {"gateway": f"http://127.0.0.1:{self._ports[1]}", **urls}

    @property
    def outbound(self) -> dict[str, str]:
        """Where each workload's own calls go, as host:port: its sidecar, which reaches every workload, as Istio's do."""
        return {instance.workload.name: f"127.0.0.1:{instance.outbound}" for instance in self._instances}

    def __enter__(self) -> Self:
        """Start everything, or stop what was started and raise."""
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop everything."""
        self.stop()

    def start(self) -> None:
        """Start everything and return when it is ready; on an error, `stop` ends what was started."""
        for name in ("certs", "envoy", "logs"):
            (self.directory / name).mkdir(parents=True, exist_ok=True)
        ports = iter(free_ports(4 * sum(len(workload.versions) for workload in WORKLOADS)))
        self._instances = [
            Instance(workload, version, next(ports), next(ports), next(ports), next(ports))
            for workload in WORKLOADS
            for version in workload.versions
        ]
        authority = Authority(self.directory / "certs")
        self._certificates = {workload.name: authority.issue(workload.identity) for workload in WORKLOADS}
        self._certificates[""] = authority.issue(GATEWAY)
        services = [self._start_service(instance) for instance in self._instances]
        self.restart_authz(self.authz)
        envoys = [self._start_sidecar(instance, self._certificates[instance.workload.name]) for instance in self._instances]
        envoys.append(self._start_gateway(self._certificates[""]))
        for process, instance in zip(services, self._instances, strict=True):
            process.wait_ready(accepts(instance.service))
        for process, url in zip(envoys, [*list(self.admin_urls.values())[1:], self.admin_urls["gateway"]], strict=True):
            process.wait_ready(answers(f"{url}/ready"))

    def stop(self) -> None:
        """Stop everything that runs; the authz server last, so that it sees how the last calls ended."""
        self.stop_replica()
        stop_all(self._processes)
        self._processes.clear()
        self.stop_authz()

    def stop_authz(self) -> None:
        """Stop the authz server and leave the mesh up: Envoy then does what `failure_mode_allow` says."""
        if self._authz_process is not None:
            self._authz_process.stop()
            self._authz_process = None

    def restart_authz(self, settings: AuthzServer) -> None:
        """Run the authz server with other settings on the same address; return when it is ready."""
        self.stop_authz()
        self.authz = settings
        command = settings.command(f"127.0.0.1:{self._ports[2]}", f"127.0.0.1:{self._ports[3]}")
        self._authz_process = Process("authz_server", command, self._logs / "authz_server.log")
        self._authz_process.wait_ready(answers(f"{self.authz_admin}/readyz"))

    def start_replica(self, settings: AuthzServer) -> Replica:
        """Give the shop a second sidecar that asks an authz server of its own, and both a gateway that takes turns.

        The one service stands behind both sidecars, so that a session's calls may come by either.
        """
        first = next(instance for instance in self._instances if instance.workload is SHOP)
        ports = free_ports(6)
        replica = Replica(*(f"127.0.0.1:{port}" for port in ports[:3]))
        instance = replace(first, version="replica", inbound=ports[3], outbound=first.outbound, admin=ports[4])
        server = Process("authz_server-replica", settings.command(replica.listen, replica.admin), self._logs / "replica.log")
        self._replica.append(server)
        server.wait_ready(answers(f"http://{replica.admin}/readyz"))
        options = Sidecar(
            name="shop-shop-replica",
            admin_port=instance.admin,
            inbound=Inbound(instance.inbound, f"127.0.0.1:{instance.service}", self._certificates[SHOP.name]),
            authz=Authz(replica.listen),
        )
        front = Gateway(
            name="gateway-replica",
            admin_port=ports[5],
            listen=replica.gateway,
            tls=self._certificates[""],
            destinations=self._destinations([SHOP], [*self._instances, instance]),
        )
        for name, bootstrap, admin in (
            (options.name, sidecar(options), options.admin_port),
            (front.name, gateway(front), front.admin_port),
        ):
            path = save(bootstrap, self.directory / "envoy" / f"{name}.pb")
            self._replica.append(start_envoy(f"{name}-envoy", path, admin, self._logs))
        return replica

    def stop_replica(self) -> None:
        """Stop what `start_replica` started; its Envoys first."""
        stop_all(self._replica)
        self._replica.clear()

    def check(self) -> None:
        """Raise DemoError with its log's tail if any process has ended by itself."""
        for process in [*self._processes, *self._replica, *([self._authz_process] if self._authz_process else [])]:
            if not process.running:
                raise DemoError(f"{process.name} ended by itself\n{process.tail()}")

    @property
    def _logs(self) -> Path:
        return self.directory / "logs"

    def _start_service(self, instance: Instance) -> Process:
        module = f"demo.services.{instance.workload.identity.name}"
        command = [sys.executable, "-m", module, "--port", str(instance.service)]
        command += ["--mesh", f"127.0.0.1:{instance.outbound}"]
        log = self._logs / f"{instance.name}.log"
        return self._keep(Process(instance.name, command, log, {"DEMO_VERSION": instance.version}))

    def _start_sidecar(self, instance: Instance, tls: TlsFiles) -> Process:
        others = [workload for workload in WORKLOADS if workload is not instance.workload]
        options = Sidecar(
            name=instance.name,
            admin_port=instance.admin,
            inbound=Inbound(instance.inbound, f"127.0.0.1:{instance.service}", tls),
            authz=Authz(f"127.0.0.1:{self._ports[2]}") if self.asks else None,
            outbound=Outbound(instance.outbound, tls, self._destinations(others)),
            access_log=self._logs / f"{instance.name}-access.jsonl",
            before_authz=self.filters.get(f"{instance.workload.identity.namespace}/{instance.workload.identity.name}", ()),
        )
        bootstrap = save(sidecar(options), self.directory / "envoy" / f"{options.name}.pb")
        return self._keep(start_envoy(f"{options.name}-envoy", bootstrap, options.admin_port, self._logs, wait=False))

    def _start_gateway(self, tls: TlsFiles) -> Process:
        options = Gateway(
            name="gateway",
            admin_port=self._ports[1],
            listen=self.gateway,
            tls=tls,
            destinations=self._destinations([workload for workload in WORKLOADS if workload.public]),
            access_log=self._logs / "gateway-access.jsonl",
        )
        bootstrap = save(gateway(options), self.directory / "envoy" / "gateway.pb")
        return self._keep(start_envoy("gateway-envoy", bootstrap, options.admin_port, self._logs, wait=False))

    def _destinations(self, workloads: Sequence[Workload], instances: Sequence[Instance] = ()) -> list[Destination]:
        return [
            Destination(
                name=workload.name,
                hosts=[workload.name, *([workload.public] if workload.public else [])],
                addresses=[f"127.0.0.1:{i.inbound}" for i in instances or self._instances if i.workload is workload],
                identity=workload.identity,
            )
            for workload in workloads
        ]

    def _keep(self, process: Process) -> Process:
        self._processes.append(process)
        return process
