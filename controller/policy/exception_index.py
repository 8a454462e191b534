"""Finds the exceptions that are about an image under a policy, so that thousands of them cost a review no more than
five: by policy and digest, and by policy and what their image patterns spell out."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from controller.model.exception import EvidenceException, PolicyName
from controller.model.policy import Problem
from controller.model.reference import Digest
from controller.policy.exceptions import fault, parse_exception
from controller.policy.match import Anchor, ImageMatcher, ImagePattern, anchors_of
from controller.settings import ExceptionSettings

LAPSED_TOLD = 7 * 86_400.0  # seconds for which a denial still says that an exception has ended
MAX_REMEMBERED = 8192  # bounds the exceptions that are compiled once only, however often others change


@dataclass(frozen=True, slots=True)
class _Compiled:
    """An exception with its patterns compiled. `unless`: what its `!` patterns leave, which binds digests too."""

    exception: EvidenceException
    images: ImageMatcher
    unless: ImageMatcher

    def names(self, name: str, digests: Collection[Digest]) -> bool:
        """Whether the image of this `registry/repository`, with these digests, is meant."""
        if any(digest in digests for digest in self.exception.digests):
            return self.unless.matches_name(name)
        return bool(self.exception.images) and self.images.matches_name(name)


class ExceptionIndex:
    """All exceptions in one version of each. Immutable.

    `problems` are those of the objects that are no exception, by name: they except nothing. `settings` bound what an
    exception may grant, whenever it is used.
    """

    __slots__ = ("_by_anchor", "_by_digest", "_by_name", "problems", "settings")

    def __init__(
        self,
        exceptions: Iterable[EvidenceException] = (),
        *,
        settings: ExceptionSettings | None = None,
        problems: Mapping[str, tuple[Problem, ...]] = MappingProxyType({}),
    ) -> None:
        self.settings = settings or ExceptionSettings()
        self.problems = MappingProxyType(dict(problems))
        by_name: dict[str, _Compiled] = {}
        by_digest: dict[tuple[PolicyName, Digest], list[_Compiled]] = {}
        by_anchor: dict[tuple[PolicyName, Anchor], list[_Compiled]] = {}
        for exception in sorted(exceptions, key=lambda each: each.name):
            compiled = _compile(exception)
            by_name[exception.name] = compiled
            anchors = compiled.images.anchors if exception.images else frozenset[Anchor]()
            for policy in exception.policies:
                for digest in exception.digests:
                    by_digest.setdefault((policy, digest), []).append(compiled)
                for anchor in anchors:
                    by_anchor.setdefault((policy, anchor), []).append(compiled)
        self._by_name: Mapping[str, _Compiled] = MappingProxyType(by_name)
        self._by_digest = MappingProxyType({key: tuple(found) for key, found in by_digest.items()})
        self._by_anchor = MappingProxyType({key: tuple(found) for key, found in by_anchor.items()})

    def applying(
        self, policy: PolicyName, *, name: str, digests: Collection[Digest], namespace: str, now: datetime
    ) -> tuple[EvidenceException, ...]:
        """The exceptions in force that except this image from this policy in this namespace, sorted by name.

        `name` is the image's `registry/repository`; `digests` those of what will run, none if that is not known.
        """
        found = self._about(policy, name, digests, namespace)
        return tuple(each for each in found if fault(each, now=now, settings=self.settings) is None)

    def lapsed(
        self, policy: PolicyName, *, name: str, digests: Collection[Digest], namespace: str, now: datetime
    ) -> tuple[tuple[str, Problem], ...]:
        """The names of those that are about it and except nothing, and why, unless they ended before `LAPSED_TOLD`."""
        found: list[tuple[str, Problem]] = []
        for exception in self._about(policy, name, digests, namespace):
            problem = fault(exception, now=now, settings=self.settings)
            if problem is not None and (now - exception.expires).total_seconds() <= LAPSED_TOLD:
                found.append((exception.name, problem))
        return tuple(found)

    def _about(
        self, policy: PolicyName, name: str, digests: Collection[Digest], namespace: str
    ) -> tuple[EvidenceException, ...]:
        """The exceptions that name policy, namespace and image, whether in force or not, sorted by name."""
        found = {
            compiled.exception.name: compiled.exception
            for compiled in self._candidates(policy, name, digests)
            if (not compiled.exception.namespaces or namespace in compiled.exception.namespaces)
            and compiled.names(name, digests)
        }
        return tuple(found[key] for key in sorted(found))

    def _candidates(self, policy: PolicyName, name: str, digests: Collection[Digest]) -> Iterator[_Compiled]:
        for digest in digests:
            yield from self._by_digest.get((policy, digest), ())
        for anchor in anchors_of(name):
            yield from self._by_anchor.get((policy, anchor), ())

    def idle(self, *, now: datetime) -> Iterator[tuple[str, tuple[Problem, ...]]]:
        """Every exception that excepts nothing at this time, by name, and why."""
        yield from self.problems.items()
        for exception in self:
            found = fault(exception, now=now, settings=self.settings)
            if found is not None:
                yield exception.name, (found,)

    def by_name(self, name: str) -> EvidenceException | None:
        """The exception of this name."""
        compiled = self._by_name.get(name)
        return compiled.exception if compiled is not None else None

    def __iter__(self) -> Iterator[EvidenceException]:
        return (compiled.exception for compiled in self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)


def build_exceptions(
    objects: Iterable[Mapping[str, Any]],
    *,
    settings: ExceptionSettings | None = None,
    claimed: bool = False,
) -> ExceptionIndex:
    """The index of these EvidenceException objects (plain dicts). Never raises for a broken one: see `problems`.

    `claimed` as in `parse_exception`.
    """
    exceptions: list[EvidenceException] = []
    problems: dict[str, tuple[Problem, ...]] = {}
    for obj in objects:
        found = parse_exception(obj, claimed=claimed)
        if isinstance(found, EvidenceException):
            exceptions.append(found)
        else:
            problems[obj["metadata"]["name"]] = found
    return ExceptionIndex(exceptions, settings=settings, problems=problems)


@lru_cache(maxsize=MAX_REMEMBERED)
def _compile(exception: EvidenceException) -> _Compiled:
    patterns = [ImagePattern.parse(text) for text in exception.images]
    return _Compiled(exception, ImageMatcher(patterns), ImageMatcher(p for p in patterns if p.excludes))
