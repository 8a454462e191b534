"""Where else an image may be had: the setting `registry_mirrors`, in the order in which a container runtime asks.

A mirror is another name for the same content and nothing more. What is asked by digest is hashed wherever it comes
from; policies, records and messages about the image keep the name that the workload wrote; and no pod's pull secret is
ever used at a mirror, since whoever wrote it meant the host itself.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

from controller import telemetry
from controller.errors import ConfigurationError, InputError
from controller.model.access import ANONYMOUS, RegistryAccess
from controller.model.reference import Reference, normal_host
from controller.settings import quotable

_NOT_ITSELF = "!"


@dataclass(frozen=True, slots=True)
class Place:
    """Where an image is asked for: `reference` as it is called there; `own` is the host that the workload named."""

    reference: Reference
    own: bool

    def access(self, access: RegistryAccess) -> RegistryAccess:
        """What of a workload's credentials may be used here: all at the host itself, none at a mirror."""
        return access if self.own else ANONYMOUS

    def failed(self) -> None:
        """Count that the place gave nothing."""
        if not self.own:
            telemetry.MIRROR_FAILURES.labels(self.reference.registry).inc()


@dataclass(frozen=True, slots=True)
class _Mirror:
    host: str
    path: str

    def of(self, reference: Reference) -> Reference:
        repository = f"{self.path}/{reference.repository}" if self.path else reference.repository
        return dataclasses.replace(reference, registry=self.host, repository=repository)


class Mirrors:
    """The mirrors of every host. Raises `ConfigurationError` (`SettingInvalid`) for an entry that is none."""

    def __init__(self, entries: Iterable[str]) -> None:
        self._mirrors: dict[str, list[_Mirror]] = {}
        self._never: set[str] = set()
        for entry in entries:
            host, equals, mirror = (part.strip() for part in entry.partition("="))
            registry, _ = _split(host, entry)
            if not equals or registry != normal_host(host):
                raise _invalid(entry)
            mirrors = self._mirrors.setdefault(registry, [])
            if mirror == _NOT_ITSELF:
                self._never.add(registry)
            else:
                mirrors.append(_Mirror(*_split(mirror, entry)))
        for registry in self._never:
            if not self._mirrors[registry]:
                raise ConfigurationError(
                    "SettingInvalid", f"registry_mirrors: {registry} has no mirror and is never to be asked itself"
                )

    def places(self, reference: Reference) -> tuple[Place, ...]:
        """Where to ask for this image, in order: never nowhere."""
        mirrors = self._mirrors.get(reference.registry, ())
        places = tuple(Place(mirror.of(reference), own=False) for mirror in mirrors)
        return places if reference.registry in self._never else (*places, Place(reference, own=True))


def _split(text: str, entry: str) -> tuple[str, str]:
    """Registry and path of `host[:port][/path]`."""
    host, _, path = text.partition("/")
    try:
        reference = Reference.parse(f"{text}/x/x")
    except InputError as exc:
        raise _invalid(entry) from exc
    if reference.registry != normal_host(host) or reference.digest is not None:
        raise _invalid(entry)
    return reference.registry, path


def _invalid(entry: str) -> ConfigurationError:
    return ConfigurationError(
        "SettingInvalid", f"registry_mirrors: {quotable(entry)!r} is not HOST=MIRROR[:PORT][/PATH] nor HOST=!"
    )
