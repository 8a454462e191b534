"""How many pulls a registry says are left: what Docker Hub tells with each answer about a manifest.

Shown as metrics, and remembered for one decision: a registry that counts pulls is asked by HEAD first, which is none.

Specification: https://docs.docker.com/docker-hub/usage/pulls/
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping

from controller import telemetry

MAX_HOSTS = 64  # bounds the hosts that are shown: anybody may name a host that sends these headers
_ALLOWANCE = re.compile(r"([0-9]{1,12})(?:\s*;\s*w=[0-9]{1,12})?")


class Allowances:
    """The hosts that count pulls, as last heard; the one that was heard longest ago makes room."""

    def __init__(self) -> None:
        self._hosts: OrderedDict[str, None] = OrderedDict()

    def heard(self, host: str, headers: Mapping[str, str]) -> None:
        """Take note of an answer of this host (`100;w=21600`: so many in a window of so many seconds)."""
        limit = _ALLOWANCE.fullmatch(headers.get("ratelimit-limit", "").strip())
        remaining = _ALLOWANCE.fullmatch(headers.get("ratelimit-remaining", "").strip())
        if limit is None or remaining is None:
            return
        self._hosts[host] = None
        self._hosts.move_to_end(host)
        if len(self._hosts) > MAX_HOSTS:
            gone, _ = self._hosts.popitem(last=False)
            telemetry.RATELIMIT_LIMIT.remove(gone)
            telemetry.RATELIMIT_REMAINING.remove(gone)
        telemetry.RATELIMIT_LIMIT.labels(host).set(int(limit[1]))
        telemetry.RATELIMIT_REMAINING.labels(host).set(int(remaining[1]))

    def counts(self, host: str) -> bool:
        """Whether the host was heard to count pulls."""
        return host in self._hosts
