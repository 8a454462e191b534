"""One Lease (coordination.k8s.io/v1): which of several processes may do what only one should.

As client-go's leader election has it. Nobody's clock is compared with anybody else's: a holder is gone when *this*
process has seen its Lease unchanged for as long as the Lease says that it lasts. Every write names the version that it
was made of (`resourceVersion`), so of two who want it the API server refuses one.

A Lease keeps nobody from writing who slept past its end and does not know it yet: what is written must carry a fence of
its own (of the ledger, the term).
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from controller.cluster.client import CONFLICT, NOT_FOUND, ClusterClient
from controller.errors import AssayError, Unacceptable

DURATION = 15  # seconds without a renewal after which others may take it (client-go's defaults, as the next two)
RENEW_WITHIN = 10.0  # seconds after the last renewal in which its holder still counts on it
RETRY = 2.0  # seconds between two renewals, or two looks
MAX_DURATION = 600  # seconds that a Lease of somebody else's is believed to last, whatever it says


@dataclass(frozen=True, slots=True)
class LeaseName:
    """Where the Lease lies."""

    namespace: str
    name: str

    @property
    def collection(self) -> str:
        """The path of the namespace's Leases."""
        return f"/apis/coordination.k8s.io/v1/namespaces/{self.namespace}/leases"

    @property
    def path(self) -> str:
        """The path of this one."""
        return f"{self.collection}/{self.name}"


class Lease:
    """One process's hand on a Lease. Belongs to one event loop; `held` may be asked from any thread."""

    def __init__(
        self,
        client: ClusterClient,
        name: LeaseName,
        *,
        identity: str,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._name = name
        self._identity = identity
        self._clock = clock
        self._monotonic = monotonic
        self._until = float("-inf")
        self._seen: tuple[Any, ...] = ()
        self._seen_at = float("-inf")

    def held(self) -> bool:
        """Whether this process renewed it so recently that nobody else can have it."""
        return self._monotonic() < self._until

    async def attempt(self) -> bool:
        """Take it if it is free, renew it if it is held. Returns whether it is held now.

        Raises `AssayError` as `ClusterClient.get`; what is held then runs out by itself.
        """
        began = self._monotonic()  # before the request: a renewal counts from when it was certainly not made yet
        try:
            lease = await self._client.get(self._name.path, timeout=RENEW_WITHIN / 2)
        except AssayError as exc:
            if exc.code != NOT_FOUND:
                raise
            return await self._write(self._new(), began, create=True)
        spec = lease.get("spec") or {}
        holder = str(spec.get("holderIdentity") or "")
        if holder != self._identity:
            self._until = float("-inf")
            if holder and not self._has_run_out(lease, spec):
                return False
        return await self._write(self._renewed(lease, taken=holder != self._identity), began, create=False)

    async def release(self) -> None:
        """Give it back, so that the next one need not wait for its end. Raises as `attempt`."""
        if not self.held():
            return
        self._until = float("-inf")
        lease = await self._client.get(self._name.path, timeout=RENEW_WITHIN / 2)
        spec = lease.get("spec") or {}
        if spec.get("holderIdentity") != self._identity:
            return
        lease["spec"] = {**spec, "holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": self._now()}
        await self._client.replace(self._name.path, lease, timeout=RENEW_WITHIN / 2)

    def _has_run_out(self, lease: dict[str, Any], spec: dict[str, Any]) -> bool:
        """Whether it was seen unchanged for as long as it lasts, by this process's own clock."""
        seen = (lease["metadata"].get("uid"), spec.get("holderIdentity"), spec.get("renewTime"))
        if seen != self._seen:
            self._seen, self._seen_at = seen, self._monotonic()
            return False
        said = spec.get("leaseDurationSeconds")
        duration = min(said, MAX_DURATION) if isinstance(said, int) and said > 0 else DURATION
        return self._monotonic() - self._seen_at > duration

    async def _write(self, lease: dict[str, Any], began: float, *, create: bool) -> bool:
        try:
            if create:
                await self._client.create(self._name.collection, lease, timeout=RENEW_WITHIN / 2)
            else:
                await self._client.replace(self._name.path, lease, timeout=RENEW_WITHIN / 2)
        except Unacceptable as exc:
            if exc.code != CONFLICT:
                raise
            self._until = float("-inf")  # somebody else was quicker
            return False
        self._until = began + RENEW_WITHIN
        return self.held()

    def _new(self) -> dict[str, Any]:
        now = self._now()
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._name.name, "namespace": self._name.namespace},
            "spec": {
                "holderIdentity": self._identity,
                "leaseDurationSeconds": DURATION,
                "acquireTime": now,
                "renewTime": now,
                "leaseTransitions": 0,
            },
        }

    def _renewed(self, lease: dict[str, Any], *, taken: bool) -> dict[str, Any]:
        renewed = copy.deepcopy(lease)
        spec = renewed["spec"] = renewed.get("spec") or {}
        spec |= {"holderIdentity": self._identity, "leaseDurationSeconds": DURATION, "renewTime": self._now()}
        if taken:
            spec["acquireTime"] = spec["renewTime"]
            spec["leaseTransitions"] = int(spec.get("leaseTransitions") or 0) + 1
        return renewed

    def _now(self) -> str:
        """A MicroTime."""
        return self._clock().astimezone(UTC).isoformat(timespec="microseconds")[:26] + "Z"
