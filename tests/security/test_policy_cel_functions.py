"""No function makes much of little, or burns time in one call: each is given the largest values that there may be."""

from __future__ import annotations

import gc
import itertools
import time
from collections.abc import Iterator
from typing import Any

import pytest

from controller.errors import LimitExceeded
from controller.policy.cel import Environment, compile_expression
from controller.policy.cel import schema as cel
from controller.policy.cel.failure import CelError
from controller.policy.cel.libraries import TABLE, addresses, formats, quantities, semvers, urls
from controller.policy.cel.meter import Abort, Meter
from controller.policy.cel.overloads import Overload
from controller.policy.cel.schema import Type
from controller.policy.cel.values import Duration, Timestamp, TypeValue, Uint
from controller.settings import PolicySettings

SIZE = 2**20  # the default of policy_cel_max_value_bytes
CALL_SECONDS = 1.0  # of CPU for one call, at a tenth of which all of them are; a stuck one takes minutes
ASSAYS_OWN = {"sboms", "vulnerabilities", "vex", "images"}  # over documents, which have bounds of their own

TEXTS = (
    "a" * SIZE,
    "a" * (SIZE // 2) + "b",
    "9" * SIZE,
    "%s" * (SIZE // 2),
    "1." * (SIZE // 2),
    "(a+a+)+b",
    "%.200f",
    "9e999999999",
    "",
)
VALUES: dict[str, tuple[Any, ...]] = {
    "dyn": ("a" * SIZE, [1] * 1000),
    "parameter": ("a" * SIZE, 1, [["a" * 100] * 100] * 100),
    "bool": (True,),
    "int": (2**63 - 1, -(2**63), -1, 5),
    "uint": (Uint(2**64 - 1),),
    "double": (1.7976931348623157e308, 5e-324),
    "string": TEXTS,
    "bytes": (b"a" * SIZE, b"\xff" * SIZE),
    "type": (TypeValue("int"),),
    "google.protobuf.Timestamp": (Timestamp(0), Timestamp(253402300799 * 10**9)),
    "google.protobuf.Duration": (Duration(2**63 - 1),),
    "net.IP": (addresses.parse_ip("::1"),),
    "net.CIDR": (addresses.parse_network("::/0"),),
    "kubernetes.URL": (urls.parse("https://a/?" + "a=b&" * 3000), urls.parse("https://a/" + "%41" * 5000)),
    "kubernetes.Quantity": (quantities.parse("1e100"), quantities.parse("1e-100"), quantities.parse("9" * 100)),
    "kubernetes.Semver": (semvers.parse("1.0.0-" + ".".join(["a"] * 400)),),
    "kubernetes.NamedFormat": tuple(formats.FORMATS.values()),
    "optional_type": (formats.Optional(("a" * SIZE,)), formats.Optional()),
    "map": ({f"k{i}": "a" * 16 for i in range(20_000)},),
    "list": (
        ["a" * 16] * 50_000,
        [1] * 50_000,
        [[1] * 100] * 500,
        list(range(20_000)),
        [1.5] * 20_000,
        ["a" * SIZE] * 4,
        [Duration(1)] * 20_000,
    ),
}
GIVEN = [
    overload
    for library in TABLE.libraries
    if library.name not in ASSAYS_OWN
    for overload in library.overloads
    if overload.name != "format"
]


def operands(overload: Overload) -> Iterator[tuple[Any, ...]]:
    """Every combination of large values for the operands."""
    yield from itertools.product(*(_values(declared) for declared in overload.operands))


def _values(declared: Type) -> tuple[Any, ...]:
    return VALUES[declared.kind]


@pytest.fixture
def _frozen() -> Iterator[None]:
    """Nothing of what other tests left behind is collected at the cost of a call."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.guarantee(10)
@pytest.mark.usefixtures("_frozen")
@pytest.mark.parametrize("overload", GIVEN, ids=lambda overload: overload.signature)
def test_no_call_takes_long_whatever_it_is_given(overload: Overload) -> None:
    for given in itertools.islice(operands(overload), 120):
        meter = Meter(PolicySettings())
        before = time.thread_time()
        try:
            result = overload.run(meter, *given)
        except (CelError, Abort):
            result = None
        assert time.thread_time() - before < CALL_SECONDS
        assert not isinstance(result, str | bytes) or len(result) <= SIZE


def test_every_function_over_plain_values_is_among_them() -> None:
    names = {library.name for library in TABLE.libraries}
    assert names - ASSAYS_OWN == {
        *("operators", "standard", "numbers", "times", "strings", "lists"),
        *("sets", "regex", "url", "net", "quantity", "semver", "format"),
    }
    assert len(GIVEN) > 200


LONG = "a" * 100_000
OBJECT = {
    "long": LONG,
    "half": "a" * 600_000,
    "many": ["x" * 100] * 9_000,
    "numbers": list(range(10_000)),
    "pattern": "a(.*b)?",
    "form": "%s" * 5_000,
}


@pytest.mark.guarantee(10)
@pytest.mark.parametrize(
    ("text", "bound"),
    [
        ("object.half.replace('a', 'aa') != ''", "policy_cel_max_value_bytes"),
        ("object.long.replace('', object.long) != ''", "policy_cel_max_value_bytes"),
        ("object.many.join(object.long) != ''", "policy_cel_max_value_bytes"),
        ("object.long.split('') != []", "policy_cel_max_value_bytes"),
        ("object.form.format(object.numbers.slice(0, 5000).map(n, object.long)) != ''", "policy_cel_max_value_bytes"),
        ("'%s'.format([object.numbers.map(n, object.long)]) != ''", "policy_cel_steps"),
        ("lists.range(9223372036854775807) != []", "policy_cel_max_value_bytes"),
        ("lists.range(60000).map(x, lists.range(60000)).flatten() != []", "policy_cel_steps"),
        ("(object.long + 'b').lastIndexOf(object.long) == 1", "policy_cel_steps"),
        ("object.half.findAll(object.pattern).size() > 0", "policy_cel_steps"),
        ("object.numbers.distinct().size() > 0", "policy_cel_steps"),
        ("sets.equivalent(object.numbers, object.numbers.reverse())", "policy_cel_steps"),
        ("object.numbers.sortBy(x, -x).sort().sortBy(x, string(x)).size() > 0", "policy_cel_steps"),
        ("object.numbers.all(n, object.many.isSorted())", "policy_cel_steps"),
        ("object.numbers.all(n, object.long.lowerAscii() != '')", "policy_cel_steps"),
        ("object.numbers.all(n, object.long.trim().size() > 0)", "policy_cel_steps"),
        ("object.numbers.all(n, !isQuantity(object.long))", "policy_cel_steps"),
        ("object.numbers.all(n, !isSemver(object.long))", "policy_cel_steps"),
        ("object.numbers.all(n, !isURL(object.long))", "policy_cel_steps"),
        ("object.numbers.all(n, !isIP(object.long))", "policy_cel_steps"),
        ("object.numbers.all(n, format.dns1123Subdomain().validate(object.long).hasValue())", "policy_cel_steps"),
        ("object.numbers.all(n, bytes(object.long) != b'')", "policy_cel_steps"),
        ("object.numbers.all(n, strings.quote(object.long) != '')", "policy_cel_steps"),
    ],
)
def test_each_function_is_charged_by_the_size_of_what_it_reads_and_makes(text: str, bound: str) -> None:
    settings = PolicySettings(policy_cel_timeout=60)
    program = compile_expression(f"{text} || true", Environment(names={"object": cel.DYN}), settings)
    with pytest.raises(LimitExceeded) as raised:
        program.holds({"object": OBJECT}, Meter(settings))
    assert raised.value.setting == bound


@pytest.mark.guarantee(10)
def test_what_is_charged_at_once_does_not_pass_by_the_clock() -> None:
    """A look at the clock is due by the steps taken, also when one call takes thousands of them."""
    settings = PolicySettings(policy_cel_steps=10**9, policy_cel_timeout=0)
    with pytest.raises(Abort) as raised:
        Meter(settings).charge(10_000)
    assert isinstance(raised.value.error, LimitExceeded)
    assert raised.value.error.setting == "policy_cel_timeout"
