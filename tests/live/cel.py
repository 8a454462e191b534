"""Kubernetes' CEL and ours, side by side: every function on values at random must give the same value and type.

Not part of `make test`, since it needs what only fixtures are made with: `make test-live`. What both are asked leaves
out where they differ on purpose (tests/fixtures/cel_cases/different.toml).
"""

from __future__ import annotations

import json
import random
import subprocess

import pytest

from controller.policy.cel.libraries import TABLE
from controller.policy.cel.overloads import Overload
from controller.policy.cel.schema import Type
from tests.tools import build
from tests.unit.policy.test_cel_kubernetes import answer, same

EXPRESSIONS = 2_500  # of one round
TIMEOUT = 120  # seconds for the other side
ASSAYS_OWN = {"sboms", "vulnerabilities", "vex", "images"}
NOT_ASKED = {
    "lists.range",
    "sign",
    "validate",
    "flatten",
}  # takes all memory there; both ways here; our own words; a depth has a cost there

VALUES = {
    "bool": ["true", "false"],
    "int": ["0", "1", "-1", "2", "7", "-7", "9223372036854775807", "-9223372036854775808"],
    "uint": ["0u", "1u", "3u", "18446744073709551615u"],
    "double": ["0.0", "-0.0", "1.5", "-2.5", "1e300", "-1e-300", "0.1", "1e21", "123456789.125", "1.0/0.0", "-1.0/0.0"],
    "string": ["''", "'a'", "'abc'", "'aXbXc'", "'héllo wörld'", "'1.2.3'", "'10.0.0.0/8'", "'::1'", "'1h'", "'%s'",
               "'2020-01-01T00:00:00Z'", "'%d-%.2f'", "'true'", "'-12'", "'1e5'", "'https://u:p@h:8/p?q=1#f'", "'1Gi'",
               "'500m'", "' x\\t'", "'\\u2003'", "'1.2.3-rc.1+b'", "'[a-c]+'", "'(x)|(y)*'", "'Europe/Paris'", "'v1'",
               "'a\"b'", "'😀'", "'X'"],
    "bytes": ["b''", "b'abc'", "b'\\xff'", "b'é'"],
    "type": ["int", "string", "type", "list"],
    "google.protobuf.Timestamp": [f"timestamp('{text}')" for text in (
        "2020-02-29T23:59:59.999999999Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "1969-12-31T23:59:59.5Z")],
    "google.protobuf.Duration": [f"duration('{text}')" for text in ("0", "1h30m", "-1.5s", "1ns", "2562047h")],
    "net.IP": [f"ip('{text}')" for text in ("10.1.2.3", "::1", "fe80::1", "224.0.0.5", "ff02::5", "::")],
    "net.CIDR": [f"cidr('{text}')" for text in ("10.0.0.0/8", "10.1.2.3/9", "fe80::/10", "0.0.0.0/0")],
    "kubernetes.URL": [f"url('{text}')" for text in (
        "https://u:p@h:8/p?q=1&q=2#f", "/a%20b", "mailto:x", "http://[::1]:80")],
    "kubernetes.Quantity": [f"quantity('{text}')" for text in (
        "1", "1.5", "-500m", "1Gi", "1e3", "0", "3.14159Ki", "1n", "12345678901234567890", "0.1n", "2E", "1.5Gi")],
    "kubernetes.Semver": [f"semver('{text}')" for text in (
        "1.2.3", "1.2.3-rc.1", "1.2.3-rc.2+x", "0.0.1", "1.2.3-1", "1.2.3-alpha.beta")],
    "kubernetes.NamedFormat": [f"format.{name}()" for name in ("dns1123Label", "qualifiedName", "uri", "date", "byte")],
    "optional_type": ["format.named('uri')", "format.named('x')"],
}  # fmt: skip
PLAIN = ["int", "string", "double", "bool", "uint"]
KEYS = ["int", "string", "uint"]


class Author:
    """Writes calls of functions with literals at random."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - the same questions in each run
        self._overloads = [
            overload
            for library in TABLE.libraries
            if library.name not in ASSAYS_OWN
            for overload in library.overloads
            if overload.name not in NOT_ASKED
        ]

    def write(self) -> str:
        """One call."""
        overload = self._random.choice(self._overloads)
        maps = [declared.key.alias for declared in overload.operands if declared.kind == "map" and declared.key]
        bound = {alias: self._random.choice(KEYS) for alias in maps}
        return _written(overload, [self._literal(declared, bound) for declared in overload.operands])

    def _literal(self, declared: Type, bound: dict[str, str]) -> str:
        if declared.kind == "parameter":
            return self._random.choice(VALUES[bound.setdefault(declared.alias, self._random.choice(PLAIN))])
        if declared.kind == "dyn":
            return f"dyn({self._random.choice(VALUES[self._random.choice(PLAIN)])})"
        if declared.kind == "list" and declared.element is not None:
            entries = [self._literal(declared.element, bound) for _ in range(self._random.randint(0, 4))]
            return f"[{', '.join(entries)}]"
        if declared.kind == "map" and declared.element is not None and declared.key is not None:
            keys = {self._literal(declared.key, bound) for _ in range(self._random.randint(0, 2))}
            return f"{{{', '.join(f'{key}: {self._literal(declared.element, bound)}' for key in sorted(keys))}}}"
        return self._random.choice(VALUES[declared.kind])


def _written(overload: Overload, operands: list[str]) -> str:
    name = overload.name
    if name == "_[_]":
        return f"{operands[0]}[{operands[1]}]"
    if name.startswith("_"):
        return f"({operands[0]}) {name.strip('_')} ({operands[1]})"
    if name.endswith("_"):
        return f"{name.strip('_')}({operands[0]})"
    if overload.receiver is not None:
        return f"({operands[0]}).{name}({', '.join(operands[1:])})"
    return f"{name}({', '.join(operands)})"


@pytest.mark.parametrize("seed", range(6))
def test_every_function_gives_what_kubernetes_gives(seed: int) -> None:
    author = Author(seed)
    asked = list(dict.fromkeys(author.write() for _ in range(EXPRESSIONS)))
    done = subprocess.run(
        [build.locate("cel-evaluate")], input=json.dumps([{"expression": text, "input": {}} for text in asked]),
        capture_output=True, text=True, timeout=TIMEOUT, check=True,
    )  # fmt: skip
    different = [
        (expression, ours, theirs)
        for expression, theirs in zip(asked, json.loads(done.stdout), strict=True)
        if not same(ours := answer(expression, {}), theirs)
    ]
    assert not different
