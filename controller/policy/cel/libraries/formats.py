"""Named formats (`format.dns1123Label().validate(text)`): Kubernetes' own library, and the optional that it gives."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Any

from controller.policy.cel.failure import CelError
from controller.policy.cel.libraries import times, urls
from controller.policy.cel.meter import Meter
from controller.policy.cel.overloads import SCANS, Library
from controller.policy.cel.schema import BOOL, STRING, A, Type, list_of, opaque
from controller.policy.cel.values import register_class

FORMAT = opaque("kubernetes.NamedFormat")
LIBRARY = Library("format", "Named formats of Kubernetes.", "k8s.io/apiserver pkg/cel/library")

MAX_TEXT = 100_000  # characters of a text that is validated

Check = Callable[[str], list[str]]


def optional(element: Type) -> Type:
    """A value that may be missing."""
    return Type("optional_type", element=element, alias=f"optional({element.name})")


@dataclass(frozen=True, slots=True)
class Format:
    """A format: what is wrong with a text is a list of sentences."""

    name: str
    check: Check

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Format) and self.name == other.name

    def __hash__(self) -> int:
        return hash(self.name)

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Optional:
    """A value, or that there is none."""

    values: tuple[Any, ...] = ()

    def __str__(self) -> str:
        return f"optional.of({self.values[0]!r})" if self.values else "optional.none()"


register_class(Format, "kubernetes.NamedFormat")
register_class(Optional, "optional_type")

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_NAME = r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"


def _matching(pattern: str, longest: int, what: str) -> Check:
    compiled = re.compile(pattern, re.ASCII)

    def check(text: str) -> list[str]:
        found = [] if len(text.encode(errors="replace")) <= longest else [f"is longer than {longest} bytes"]
        return found if compiled.fullmatch(text[: longest + 1]) else [*found, f"is not made of {what}"]

    return check


_WORDS = "lower case letters, digits and '-', with a letter or digit at both ends"
_dns_label = _matching(_LABEL, 63, _WORDS)
_subdomain = _matching(rf"{_LABEL}(\.{_LABEL})*", 253, f"parts with '.' between them, each of {_WORDS}")
_dns_1035 = _matching(r"[a-z]([-a-z0-9]*[a-z0-9])?", 63, f"{_WORDS}, a letter first")
_name = _matching(_NAME, 63, "letters, digits, '-', '_' and '.', with a letter or digit at both ends")


def _prefix(check: Check) -> Check:
    """A text to which more is added: it may end with a '-' (Kubernetes' generateName)."""
    return lambda text: check(f"{text[:-1]}a" if len(text) > 1 and text.endswith("-") else text)


def _qualified(text: str) -> list[str]:
    domain, slash, name = text.rpartition("/")
    if slash and not domain:
        return ["its domain is empty"]
    return ([f"its domain {problem}" for problem in _subdomain(domain)] if slash else []) + (
        ["its name is empty"] if not name else [f"its name {problem}" for problem in _name(name)]
    )


def _label_value(text: str) -> list[str]:
    return _name(text) if text else []


def _uri(text: str) -> list[str]:
    try:
        urls.parse(text)
    except CelError as exc:
        return [exc.message]
    return []


def _base64(text: str) -> list[str]:
    try:
        base64.b64decode(text.replace("\r", "").replace("\n", ""), validate=True)
    except (binascii.Error, ValueError):
        return ["is no base64"]
    return [] if text else ["is empty"]


def _date(text: str) -> list[str]:
    try:
        date.fromisoformat(text)
    except ValueError:
        return ["is no date, such as 2026-01-31"]
    return [] if len(text) == 10 and text.isascii() else ["is no date, such as 2026-01-31"]


def _datetime(text: str) -> list[str]:
    try:
        times.parse_timestamp(text.upper())
    except CelError:
        return ["is no date and time, such as 2026-01-31T12:00:00Z"]
    return []


_UUID = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}", re.ASCII | re.IGNORECASE)

FORMATS = {
    "dns1123Label": Format("DNS1123Label", _dns_label),
    "dns1123Subdomain": Format("DNS1123Subdomain", _subdomain),
    "dns1035Label": Format("DNS1035Label", _dns_1035),
    "qualifiedName": Format("QualifiedName", _qualified),
    "dns1123LabelPrefix": Format("DNS1123LabelPrefix", _prefix(_dns_label)),
    "dns1123SubdomainPrefix": Format("DNS1123SubdomainPrefix", _prefix(_subdomain)),
    "dns1035LabelPrefix": Format("DNS1035LabelPrefix", _prefix(_dns_1035)),
    "labelValue": Format("LabelValue", _label_value),
    "uri": Format("URI", _uri),
    "uuid": Format("uuid", lambda text: [] if _UUID.fullmatch(text) else ["is no UUID"]),
    "byte": Format("byte", _base64),
    "date": Format("date", _date),
    "datetime": Format("datetime", _datetime),
}


def _declare(name: str, chosen: Format) -> None:
    LIBRARY.function(f"format.{name}", returns=FORMAT, text=f"The format {chosen.name}.")(lambda _meter: chosen)


for _given, _format in FORMATS.items():
    _declare(_given, _format)


@LIBRARY.function("format.named", STRING, returns=optional(FORMAT))
def named(_meter: Meter, name: str) -> Optional:
    """The format of this name, such as `dns1123Label`, if there is one."""
    return Optional((FORMATS[name],)) if name in FORMATS else Optional()


@LIBRARY.method("validate", FORMAT, STRING, returns=optional(list_of(STRING)), cost=SCANS)
def validate(meter: Meter, chosen: Format, text: str) -> Optional:
    """What is wrong with the text: nothing, or sentences."""
    meter.charge(8 * len(text))
    if len(text) > MAX_TEXT:
        return Optional((["is too long"],))
    problems = chosen.check(text)
    return Optional((problems,)) if problems else Optional()


@LIBRARY.method("hasValue", optional(A), returns=BOOL)
def has_value(_meter: Meter, value: Optional) -> bool:
    """Whether there is a value."""
    return bool(value.values)


@LIBRARY.method("value", optional(A), returns=A)
def value_of(_meter: Meter, value: Optional) -> Any:
    """The value; an error if there is none."""
    if not value.values:
        raise CelError("the optional has no value")
    return value.values[0]


@LIBRARY.method("orValue", optional(A), A, returns=A)
def value_or(_meter: Meter, value: Optional, other: Any) -> Any:
    """The value, or another one if there is none."""
    return value.values[0] if value.values else other
