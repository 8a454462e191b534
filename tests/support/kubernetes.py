"""A real Kubernetes control plane on loopback: etcd, kube-apiserver, and kube-controller-manager if asked for.

There is no node, so pods stay Pending: admission does not mind, and a test that wants a running pod writes its status
as a kubelet would. Users are tokens, so that a test can act as anybody, in any group.
"""

from __future__ import annotations

import contextlib
import json
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.support.processes import Server, answers, free_port, running, wait_until
from tests.support.tools import CommandError, hermetic_environment, tool

KUBECTL_TIMEOUT = 60  # seconds for one kubectl; an admission alone may take thirty
STOP_TIMEOUT = 1  # seconds for a part to end: kube-apiserver else waits for every open watch, and nothing is to survive
REQUEST_TIMEOUT = 60  # seconds for one request of our own
SENDINGS = 3  # of one request, where the server gives its connection up before it has it
GIVEN_UP = ssl.SSLEOFError, ConnectionResetError, BrokenPipeError
JSON = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who may speak to the API server: what an AdmissionReview shows as userInfo."""

    name: str
    groups: tuple[str, ...] = ()

    @property
    def token(self) -> str:
        """The bearer token. It guards nothing: the server lives on loopback for the length of a test."""
        return f"token-of-{self.name}"


ADMIN = User("admin", ("system:masters",))


@dataclass(frozen=True, slots=True)
class Completed:
    """What a kubectl wrote and how it ended."""

    status: int
    stdout: str
    stderr: str

    def json(self) -> Any:
        """Standard output, parsed (`-o json`)."""
        return json.loads(self.stdout)


class ApiServer:
    """A control plane for the length of a `with` block; everything that it writes lies below `folder`.

    `users` come besides `ADMIN`; an ordinary one may do nothing until RBAC objects say so. With `controllers`, a
    Deployment makes pods and a namespace gets its service account (and the ServiceAccount admission plugin is on).
    `flags` are more flags for kube-apiserver. Entering raises ToolError when a program is not built and ServerError
    when one does not come up.
    """

    def __init__(
        self, folder: Path, *, users: Sequence[User] = (), controllers: bool = False, flags: Sequence[str] = ()
    ) -> None:
        self.folder = folder
        self.users = (ADMIN, *users)
        self.controllers = controllers
        self.url = f"https://127.0.0.1:{free_port()}"
        self.ca_file = folder / "certificates" / "apiserver.crt"  # what the server's certificate is checked with
        self.audit_log = folder / "audit.log"  # a JSON event a line: where a webhook's audit annotations arrive
        self._etcd_url = f"http://127.0.0.1:{free_port()}"
        self._flags = tuple(flags)
        self._environment = hermetic_environment(folder / "home")
        self._others = contextlib.ExitStack()  # etcd and kube-controller-manager
        self._server = contextlib.ExitStack()  # kube-apiserver, which a test may stop and start

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as undo:
            undo.callback(self._close)
            self._write_configuration()
            self._others.enter_context(self._run_etcd())
            self.start()
            if self.controllers:
                self._others.enter_context(self._run_controllers())
                self._wait_for_service_account("default")
            undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def start(self) -> None:
        """Start kube-apiserver; after a `stop`, with all that was stored."""
        self._server.enter_context(self._run_server())

    def stop(self) -> None:
        """End kube-apiserver alone, as an outage would."""
        self._server.close()

    @property
    def kubeconfig(self) -> Path:
        """A kubeconfig for the administrator."""
        return self.kubeconfig_for(ADMIN)

    def kubeconfig_for(self, user: User, *, namespace: str = "default") -> Path:
        """Write a kubeconfig with which a program acts as `user`, and return its path."""
        cluster = {"server": self.url, "certificate-authority": str(self.ca_file)}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": user.name, "user": {"token": user.token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": user.name, "namespace": namespace}}],
        }
        path = self.folder / f"kubeconfig-{user.name.replace(':', '-')}-{namespace}.json"
        path.write_text(json.dumps(content))  # JSON is YAML
        return path

    def kubectl(
        self,
        *arguments: str | Path,
        user: User = ADMIN,
        namespace: str = "default",
        stdin: str = "",
        check: bool = True,
    ) -> Completed:
        """Run kubectl as `user`.

        Raises:
            CommandError: it failed, unless `check` is False: then `status` and `stderr` tell.
        """
        command = [str(tool("kubectl")), f"--kubeconfig={self.kubeconfig_for(user, namespace=namespace)}"]
        command += map(str, arguments)
        completed = subprocess.run(
            command,
            input=stdin,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=KUBECTL_TIMEOUT,
            check=False,
        )
        if check and completed.returncode != 0:
            raise CommandError(["kubectl", *command[2:]], completed)
        return Completed(completed.returncode, completed.stdout, completed.stderr)

    def apply(self, *objects: JSON, user: User = ADMIN, namespace: str = "default", check: bool = True) -> Completed:
        """`kubectl apply` objects.

        Raises:
            CommandError: the server refused one, unless `check` is False.
        """
        everything = {"apiVersion": "v1", "kind": "List", "items": objects}
        return self.kubectl(
            "apply", "-f", "-", stdin=json.dumps(everything), user=user, namespace=namespace, check=check
        )

    def request(
        self,
        method: str,
        path: str,
        *,
        body: JSON | Sequence[JSON] | None = None,
        user: User = ADMIN,
        content_type: str = "application/json",
    ) -> tuple[int, dict[str, Any]]:
        """Send one request as `user`; return the HTTP status and the parsed answer, whatever the status is.

        Quicker than kubectl by a process, and with the server's own words. `path` begins with `/api` or `/apis`. On a
        machine that stood still the server gives connections up: what could not be sent is sent again, as clients do.

        Raises:
            OSError: no answer.
        """
        headers = {"Authorization": f"Bearer {user.token}", "Content-Type": content_type}
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, method=method, data=content, headers=headers)
        https = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=str(self.ca_file)))
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), https)
        for again in range(SENDINGS - 1, -1, -1):
            try:
                with opener.open(request, timeout=REQUEST_TIMEOUT) as response:
                    return response.status, json.loads(response.read())
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, json.loads(error.read())
            except urllib.error.URLError as error:  # of the sending alone: what the answer's reading raises is not one
                if not again or not isinstance(error.reason, GIVEN_UP):
                    raise
        raise AssertionError("the last sending returns or raises")

    def get(self, path: str) -> dict[str, Any]:
        """The object at `path`, as the administrator sees it.

        Raises:
            LookupError: the server answers anything but 200.
        """
        status, answer = self.request("GET", path)
        if status != 200:
            raise LookupError(f"GET {path}: {status} {answer.get('message')}")
        return answer

    def create_namespace(self, name: str, *, labels: Mapping[str, str] | None = None) -> None:
        """Create a namespace and, where controllers run, wait for the service account that a pod in it needs."""
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": dict(labels or {})}})
        if self.controllers:
            self._wait_for_service_account(name)

    def audit_events(self, resource: str = "pods") -> list[dict[str, Any]]:
        """The audit events of changes to a resource, oldest first."""
        lines = self.audit_log.read_text().splitlines() if self.audit_log.exists() else []
        events = [json.loads(line) for line in lines]
        return [event for event in events if event.get("objectRef", {}).get("resource") == resource]

    def _close(self) -> None:
        self._server.close()
        self._others.close()

    def _write_configuration(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (self.folder / "service-account.key").write_bytes(private)
        lines = [f'{user.token},{user.name},uid-of-{user.name},"{",".join(user.groups)}"' for user in self.users]
        (self.folder / "tokens.csv").write_text("\n".join(lines) + "\n")
        # A webhook's audit annotations are in an event's metadata; what was sent and answered need not be there.
        changes = {"level": "Metadata", "verbs": ["create", "update", "patch", "delete"]}
        policy = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"]}
        (self.folder / "audit-policy.json").write_text(json.dumps({**policy, "rules": [changes, {"level": "None"}]}))

    def _run_etcd(self) -> contextlib.AbstractContextManager[Server]:
        peer = f"http://127.0.0.1:{free_port()}"
        command: list[str | Path] = [
            tool("etcd"),
            f"--data-dir={self.folder / 'etcd'}",
            f"--listen-client-urls={self._etcd_url}",
            f"--advertise-client-urls={self._etcd_url}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--unsafe-no-fsync",  # the cluster ends with the test: nothing is to survive a crash of the machine
            "--log-level=warn",
        ]
        return self._run(command, "etcd", ready=answers(f"{self._etcd_url}/health"))

    def _run_server(self) -> contextlib.AbstractContextManager[Server]:
        key = self.folder / "service-account.key"
        command: list[str | Path] = [
            tool("kube-apiserver"),
            f"--etcd-servers={self._etcd_url}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self.url.rpartition(':')[2]}",
            "--advertise-address=127.0.0.1",  # else it wants an interface with a default route …
            "--endpoint-reconciler-type=none",  # … and this one must not be published as an endpoint
            f"--cert-dir={self.ca_file.parent}",
            f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--service-cluster-ip-range=10.96.0.0/16",
            f"--token-auth-file={self.folder / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            "--allow-privileged=true",
            "--feature-gates=ImageVolume=true",  # off by default in 1.34: the field would be dropped
            f"--audit-policy-file={self.folder / 'audit-policy.json'}",
            f"--audit-log-path={self.audit_log}",  # written before a request is answered (mode `blocking`)
            *self._flags,
        ]
        if not self.controllers:
            command.append("--disable-admission-plugins=ServiceAccount")  # nobody makes the accounts it asks for
        return self._run(command, "kube-apiserver", ready=self._is_ready)

    def _run_controllers(self) -> contextlib.AbstractContextManager[Server]:
        port = free_port()
        command: list[str | Path] = [
            tool("kube-controller-manager"),
            f"--kubeconfig={self.kubeconfig}",
            f"--service-account-private-key-file={self.folder / 'service-account.key'}",
            f"--root-ca-file={self.ca_file}",
            "--use-service-account-credentials=false",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            f"--secure-port={port}",
            f"--cert-dir={self.folder / 'controller-manager'}",
        ]
        unchecked = ssl.create_default_context()
        unchecked.check_hostname, unchecked.verify_mode = False, ssl.CERT_NONE  # asked for its health alone
        healthy = answers(f"https://127.0.0.1:{port}/healthz", context=unchecked)
        return self._run(command, "kube-controller-manager", ready=healthy)

    def _run(
        self, command: Sequence[str | Path], name: str, *, ready: Callable[[], bool]
    ) -> contextlib.AbstractContextManager[Server]:
        log = self.folder / f"{name}.log"
        return running(
            command, name=name, log=log, ready=ready, environment=self._environment, stop_timeout=STOP_TIMEOUT
        )

    def _is_ready(self) -> bool:
        # Ready, and past the first seconds in which it still makes its own namespaces.
        try:
            trusting = ssl.create_default_context(cafile=str(self.ca_file))
            ready = answers(f"{self.url}/readyz", context=trusting)
            return ready() and self.request("GET", "/api/v1/namespaces/default")[0] == 200
        except OSError:  # no certificate yet, or gone again
            return False

    def _wait_for_service_account(self, namespace: str) -> None:
        paths = (
            f"/api/v1/namespaces/{namespace}/serviceaccounts/default",
            f"/api/v1/namespaces/{namespace}/configmaps/kube-root-ca.crt",
        )
        wait_until(
            lambda: all(self.request("GET", path)[0] == 200 for path in paths),
            what=f"namespace {namespace} has its service account",
        )
