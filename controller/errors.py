"""Every error that Assay raises on purpose, on one page.

Three questions decide where an error belongs: is the *caller's input* wrong (`InputError`), is *Assay set up* wrong
(`ConfigurationError`), or could the *evidence not be judged* (`EvaluationError`)? The last is split as guarantee 6
demands: `Unavailable` (asking again later may help; `failurePolicy: Ignore` and grace may cover it) and `Unacceptable`
(what came back can never count). *Not verified* is no error at all: it is a finding, and finds its way into reasons.

Libraries' errors are translated into these at one edge each, always with `raise … from exc`.
"""

from __future__ import annotations


class AssayError(Exception):
    """An error with a stable reason code.

    `code` is CamelCase and never changes its meaning (docs/reference/reasons.md lists all); `message` is one or two
    plain sentences that carry no secret and no foreign response bytes.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class InputError(AssayError):
    """What the caller handed over is malformed: HTTP 400, exit status 2 (64 for a wrong command line)."""


class TooLarge(InputError):
    """A request body past its bound: HTTP 413."""


class ConfigurationError(AssayError):
    """A setting, file or resource that Assay itself is run with is wrong."""


class PolicyError(ConfigurationError):
    """A policy that cannot be enforced as written. `field` is its path, such as `spec.authorities[0].key.pem`."""

    def __init__(self, code: str, message: str, field: str = "") -> None:
        super().__init__(code, message)
        self.args = (code, message, field)
        self.field = field

    def __str__(self) -> str:
        return f"{self.code}: {self.field}: {self.message}" if self.field else super().__str__()


class NotReady(AssayError):
    """Policies or trust roots were not loaded once: an unready webhook denies (guarantee 9)."""


class EvaluationError(AssayError):
    """The evidence could not be judged: Error, never Satisfied and never Violated (guarantee 6)."""


class Unavailable(EvaluationError):
    """No connection, time-out, 429, 5xx, trust root away: asking again later may help.

    `retry_after` is the number of seconds that the other side asked for, if it did.
    """

    def __init__(self, code: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(code, message)
        self.args = (code, message, retry_after)
        self.retry_after = retry_after


class DeadlineExceeded(Unavailable):
    """The caller's deadline came first. The work may go on in the background, so a retry is warm."""


class RecordingFailed(Unavailable):
    """A decision could not be made durable in time; nothing may be answered as if it had been."""


class Unacceptable(EvaluationError):
    """Malformed, of the wrong content, unsupported or past a bound: never covered by Ignore or grace."""


class LimitExceeded(Unacceptable):
    """A named bound on foreign input was crossed (guarantee 10). `setting` names the bound."""

    def __init__(self, setting: str, message: str) -> None:
        super().__init__("LimitExceeded", f"{message} (bound: {setting})")
        self.args = (setting, message)
        self.setting = setting


class NotFound(Unacceptable):
    """The registry answered that the image is not there: an answer, never covered by grace."""


class AccessDenied(Unacceptable):
    """The registry refused the credentials: an answer, never covered by grace."""
