"""Errors keep code, message and kind wherever they travel: through pickles, caches and copies."""

from __future__ import annotations

import pickle

import pytest

from controller import errors
from controller.errors import AssayError


def every_error() -> list[type[AssayError]]:
    found, waiting = [], [AssayError]
    while waiting:
        kind = waiting.pop()
        found.append(kind)
        waiting.extend(kind.__subclasses__())
    return [kind for kind in found if kind.__module__ == errors.__name__]


def example(kind: type[AssayError]) -> AssayError:
    if kind is errors.LimitExceeded:
        return errors.LimitExceeded("max_things", "there are 7 things")
    if kind is errors.PolicyError:
        return errors.PolicyError("Code", "a sentence", "spec.x")
    if issubclass(kind, errors.Unavailable):
        return kind("Code", "a sentence", 7.0)
    return kind("Code", "a sentence")


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.__name__)
def test_an_error_is_the_same_after_a_pickle_and_after_a_copy(kind: type[AssayError]) -> None:
    """Worker processes hand errors over by pickle, caches by `type(error)(*error.args)`."""
    error = example(kind)
    for copy in (pickle.loads(pickle.dumps(error)), type(error)(*error.args)):  # noqa: S301 - our own bytes
        assert type(copy) is kind
        assert str(copy) == str(error)
        assert (copy.code, copy.message) == (error.code, error.message)
        assert vars(copy) == vars(error)


def test_what_grace_and_ignore_may_cover_is_a_kind_of_its_own() -> None:
    """Guarantee 6: a bound crossed, an image missing and a refusal are answers, never *unavailable*."""
    unavailable = {kind for kind in every_error() if issubclass(kind, errors.Unavailable)}
    assert unavailable == {errors.Unavailable, errors.DeadlineExceeded, errors.RecordingFailed}
    for kind in (errors.LimitExceeded, errors.NotFound, errors.AccessDenied):
        assert issubclass(kind, errors.Unacceptable)
    assert not issubclass(errors.NotReady, errors.EvaluationError)


def test_errors_read_as_code_and_sentence() -> None:
    assert str(errors.NotFound("NotFound", "there is no app:1")) == "NotFound: there is no app:1"
    assert str(errors.PolicyError("KeyMalformed", "is no key", "spec.k")) == "KeyMalformed: spec.k: is no key"
    assert str(errors.LimitExceeded("max_x", "too many")) == "LimitExceeded: too many (bound: max_x)"
