"""Whether what a policy or trust root names is there, asked as it is written: once, by name, within a short time."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from controller.cluster.client import ClusterClient
from controller.cluster.references import data_of
from controller.errors import AssayError
from controller.model.deadline import Deadline
from controller.model.exception import PolicyName
from controller.policy.kinds import API_VERSION, CLUSTER_POLICY, NAMESPACED_POLICY
from controller.policy.lint import Surroundings
from controller.policy.references import (
    SECRET,
    Materials,
    ObjectRef,
    Value,
    named_policies,
    named_trust_roots,
    only,
    wanted,
)
from controller.settings import ClusterSettings

PATIENCE = (
    2.0  # seconds for all questions about one object: what they tell are warnings, and nothing waits long for one
)
MAX_ASKED = 64  # objects asked for about one object
TRUST_ROOTS = f"/apis/{API_VERSION}/trustroots"
PLURALS = {CLUSTER_POLICY: "clusterevidencepolicies", NAMESPACED_POLICY: "evidencepolicies"}
T = TypeVar("T")


class ClusterSurroundings:
    """Asks a cluster what lies around an object. Belongs to the event loop that first uses it.

    `given` is what is known already: Assay's own place, and the trust roots that come by setting.
    """

    def __init__(self, settings: ClusterSettings, given: Surroundings) -> None:
        self._settings = settings
        self._given = given
        self._client: ClusterClient | None = None

    async def of(self, obj: Mapping[str, Any], *, deadline: Deadline) -> Surroundings:
        """What the object names, as far as the API server tells in time. Never raises for what it does not tell."""
        given = self._given.trust_roots or frozenset()
        refs = dict(sorted(wanted([obj], namespace=self._given.installation.namespace).items())[:MAX_ASKED])
        roots = sorted(named_trust_roots(obj) - given)[:MAX_ASKED]
        end = Deadline.after(min(PATIENCE, deadline.remaining() / 2))
        materials = asyncio.gather(*(self._material(ref, keys, end) for ref, keys in refs.items()))
        names = {(TRUST_ROOTS, name): name for name in roots}
        policies = {(_collection(policy), policy[2]): policy for policy in sorted(named_policies(obj))[:MAX_ASKED]}
        there, bound, found = await asyncio.gather(self._there(names, end), self._there(policies, end), materials)
        held = dict(zip(refs, found, strict=True))
        known = Materials(
            namespace=self._given.installation.namespace,
            objects={ref: values for ref, values in held.items() if isinstance(values, Mapping)},
            unread={ref: values for ref, values in held.items() if isinstance(values, str)},
        )
        return replace(self._given, trust_roots=given | there, policies=bound, materials=known)

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def _material(self, ref: ObjectRef, keys: Collection[str], end: Deadline) -> Mapping[str, Value] | str | None:
        """What it holds under these keys; None if it is not there; a clause that says why that cannot be told."""
        plural = "secrets" if ref.kind == SECRET else "configmaps"
        try:
            found = await self._one(f"/api/v1/namespaces/{ref.namespace}/{plural}", ref.name, end)
        except AssayError as exc:
            return exc.message
        return None if found is None else only(data_of(ref.kind, found), keys)

    async def _there(self, asked: Mapping[tuple[str, str], T], end: Deadline) -> frozenset[T]:
        """Those that there are, and those of which it cannot be told, by collection and name."""

        async def is_there(collection: str, name: str) -> bool:
            try:
                return await self._one(collection, name, end) is not None
            except AssayError:
                return True

        there = await asyncio.gather(*(is_there(*place) for place in asked))
        return frozenset(what for what, found in zip(asked.values(), there, strict=True) if found)

    async def _one(self, collection: str, name: str, end: Deadline) -> Mapping[str, Any] | None:
        """One object by its name, by the right to list: Assay has no right to get any Secret. Raises as the client."""
        end.check(f"{name} was asked for")
        if self._client is None:
            self._client = await ClusterClient.connect(self._settings)
        query: dict[str, str | int] = {"fieldSelector": f"metadata.name={name}", "limit": 1}
        items = (await self._client.get(collection, query=query, timeout=end.remaining())).get("items")
        return items[0] if isinstance(items, list) and items and isinstance(items[0], Mapping) else None


def _collection(policy: PolicyName) -> str:
    kind, namespace, _ = policy
    return f"/apis/{API_VERSION}/{f'namespaces/{namespace}/' * bool(namespace)}{PLURALS[kind]}"
