"""The sample mesh: which workloads there are, who calls whom, and how all of it is started and stopped.

`with Mesh(directory, AuthzServer(...)) as mesh` has a gateway, each service and its sidecar, and the authz server up;
`mesh.gateway` is where clients call, `mesh.restart_authz` runs the server with other settings while the mesh stays up.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from demo.envoy_config import Authz, Destination, Gateway, Inbound, Outbound, Sidecar, gateway, save, sidecar
from demo.identities import Authority, Identity, TlsFiles
from demo.processes import DemoError, Process, accepts, answers, free_ports, start_envoy, stop_all

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType

GATEWAY = Identity("istio-system", "ingressgateway")


@dataclass(frozen=True, slots=True)
class Workload:
    """One service of the mesh. `versions` run as processes of their own under one identity; `calls` are workloads."""

    identity: Identity
    calls: tuple[str, ...] = ()
    versions: tuple[str, ...] = ("v1",)
    public: str | None = None

    @property
    def name(self) -> str:
        """The host name inside the mesh."""
        return f"{self.identity.name}.{self.identity.namespace}"


WORKLOADS = (
    Workload(Identity("bookinfo", "ratings")),
    Workload(Identity("bookinfo", "reviews"), calls=("ratings.bookinfo",), versions=("v1", "v2", "v3")),
    Workload(Identity("bookinfo", "details")),
    Workload(
        Identity("bookinfo", "productpage"),
        calls=("details.bookinfo", "reviews.bookinfo"),
        public="bookinfo.demo.local",
    ),
    Workload(Identity("shop", "audit")),
    Workload(Identity("shop", "shop"), calls=("audit.shop",), public="shop.demo.local"),
)


@dataclass(frozen=True, slots=True)
class AuthzServer:
    """How the authz server is run: its mode (`dry_run` or `enforce`) and where it reads and writes."""

    mode: str
    policy: Path
    record: Path | None
    decision_log: Path
    bundle: Path | None = None

    def command(self, listen: str, admin: str) -> list[str]:
        """The command line, as DESIGN.md section 6 has it."""
        command = [sys.executable, "-m", "authz_server", "serve", "--listen", listen, "--admin", admin]
        command += ["--mode", self.mode, "--policy", str(self.policy), "--decision-log", str(self.decision_log)]
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


@dataclass(slots=True)
class Mesh:
    """All processes of the sample mesh. Files go to `directory`: certs/, envoy/ and logs/."""

    directory: Path
    authz: AuthzServer
    _instances: list[Instance] = field(default_factory=list)
    _processes: list[Process] = field(default_factory=list)
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
        certificates = {workload.name: authority.issue(workload.identity) for workload in WORKLOADS}
        services = [self._start_service(instance) for instance in self._instances]
        self.restart_authz(self.authz)
        envoys = [self._start_sidecar(instance, certificates[instance.workload.name]) for instance in self._instances]
        envoys.append(self._start_gateway(authority.issue(GATEWAY)))
        for process, instance in zip(services, self._instances, strict=True):
            process.wait_ready(accepts(instance.service))
        for process, url in zip(envoys, [*list(self.admin_urls.values())[1:], self.admin_urls["gateway"]], strict=True):
            process.wait_ready(answers(f"{url}/ready"))

    def stop(self) -> None:
        """Stop everything that runs; the authz server last, so that it sees how the last calls ended."""
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

    def check(self) -> None:
        """Raise DemoError with its log's tail if any process has ended by itself."""
        for process in [*self._processes, *([self._authz_process] if self._authz_process else [])]:
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
        outbound = None
        if instance.workload.calls:
            called = [workload for workload in WORKLOADS if workload.name in instance.workload.calls]
            outbound = Outbound(instance.outbound, tls, self._destinations(called))
        options = Sidecar(
            name=instance.name,
            admin_port=instance.admin,
            inbound=Inbound(instance.inbound, f"127.0.0.1:{instance.service}", tls),
            authz=Authz(f"127.0.0.1:{self._ports[2]}"),
            outbound=outbound,
            access_log=self._logs / f"{instance.name}-access.jsonl",
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

    def _destinations(self, workloads: Sequence[Workload]) -> list[Destination]:
        return [
            Destination(
                name=workload.name,
                hosts=[workload.name, *([workload.public] if workload.public else [])],
                addresses=[f"127.0.0.1:{i.inbound}" for i in self._instances if i.workload is workload],
                identity=workload.identity,
            )
            for workload in workloads
        ]

    def _keep(self, process: Process) -> Process:
        self._processes.append(process)
        return process
