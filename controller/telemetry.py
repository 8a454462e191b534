"""What operators see of Assay: metrics for Prometheus and lines on standard error. No secret reaches either.

Every metric is declared here, so that `docs/reference/metrics.md` can be generated from one place.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any, TextIO

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from controller.errors import AssayError

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
MAX_CHAIN = 8  # errors shown of a chain of causes
METRICS = CollectorRegistry()
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

REVIEWS = Counter("assay_reviews_total", "Admission reviews answered.", ["endpoint", "verdict"], registry=METRICS)
REVIEW_SECONDS = Histogram(
    "assay_review_seconds", "Time from request to answer.", ["endpoint"], buckets=_SECONDS, registry=METRICS
)
REVIEWS_UNDER_WAY = Gauge("assay_reviews_under_way", "Admission reviews being worked on.", registry=METRICS)
EVALUATIONS = Counter(
    "assay_evaluations_total", "Images judged under a policy.", ["policy", "outcome"], registry=METRICS
)
EXCEPTION_USES = Counter(
    "assay_exception_uses_total",
    "Images that an EvidenceException exempted.",
    ["exception", "break_glass"],
    registry=METRICS,
)
EXCEPTIONS = Gauge("assay_exceptions", "EvidenceExceptions by what time makes of them.", ["state"], registry=METRICS)
EXCEPTION_EXPIRES = Gauge(
    "assay_exception_expires_timestamp_seconds",
    "When an EvidenceException that is in force ends (Unix time).",
    ["exception", "break_glass"],
    registry=METRICS,
)
UNMATCHED = Counter(
    "assay_images_unmatched_total", "Images that no ClusterEvidencePolicy with Deny matched.", registry=METRICS
)
CACHE = Counter("assay_cache_total", "Look-ups in the caches.", ["cache", "result"], registry=METRICS)
RECORD_FAILURES = Counter("assay_record_failures_total", "Decisions that could not be made durable.", registry=METRICS)
CREDENTIAL_PROVIDER_FAILURES = Counter(
    "assay_credential_provider_failures_total",
    "Runs of a credential provider's plugin that gave no answer that can be used.",
    ["provider"],
    registry=METRICS,
)
MIRROR_FAILURES = Counter(
    "assay_registry_mirror_failures_total",
    "Questions that a mirror did not answer with content, so that the next place was asked.",
    ["mirror"],
    registry=METRICS,
)
RATELIMIT_LIMIT = Gauge(
    "assay_registry_ratelimit_limit",
    "Pulls that a registry said it allows in its window (Docker Hub's ratelimit-limit), as last heard.",
    ["host"],
    registry=METRICS,
)
RATELIMIT_REMAINING = Gauge(
    "assay_registry_ratelimit_remaining",
    "Pulls that a registry said are left in its window (Docker Hub's ratelimit-remaining), as last heard.",
    ["host"],
    registry=METRICS,
)
RECORDS_SPOOLED = Counter(
    "assay_records_spooled_total", "Decisions made durable in the spool, since the database was away.", registry=METRICS
)
RECORDS_LOST = Counter(
    "assay_records_lost_total",
    "Decisions that were answered and are recorded nowhere: the spool was full, and spool_full is Admit.",
    registry=METRICS,
)
SPOOL_BYTES = Gauge("assay_spool_bytes", "Bytes of records that wait for the database.", registry=METRICS)
SIGHTINGS = Counter(
    "assay_sightings_total",
    "What the operator saw and recorded: starts and ends of containers, gaps of the watch, policies and exceptions.",
    ["fact"],
    registry=METRICS,
)
SIGHTINGS_LOST = Counter(
    "assay_sightings_lost_total",
    "What the operator saw and could not record for so long that it made room for what is newer.",
    registry=METRICS,
)
LEDGER_SIZE = Gauge("assay_ledger_entries", "Records that have a number in the ledger.", registry=METRICS)
LEDGER_LAG = Gauge(
    "assay_ledger_lag_seconds", "How long the oldest record without a number has waited for it.", registry=METRICS
)
LEDGER_FAILURES = Counter(
    "assay_ledger_failures_total", "Times that the ledger could not be written; recording goes on.", registry=METRICS
)
RETENTION_DROPPED = Counter(
    "assay_retention_dropped", "Records and blobs dropped by rule, by class of data.", ["class"], registry=METRICS
)
INDEX_LAG = Gauge(
    "assay_index_lag_seconds", "How long the oldest attested document has waited to be indexed.", registry=METRICS
)
INDEX_DOCUMENTS = Counter(
    "assay_index_documents_total",
    "Artefacts that were indexed: read, or unreadable (kept with the reason).",
    ["outcome"],
    registry=METRICS,
)
INDEX_FAILURES = Counter(
    "assay_index_failures_total", "Times that documents could not be indexed; it is tried again.", registry=METRICS
)
LEDGER_WITNESSED = Gauge(
    "assay_ledger_witnessed_entries",
    "Entries of the ledger that a witness has cosigned.",
    ["witness"],
    registry=METRICS,
)
LEDGER_WITNESS_FAILURES = Counter(
    "assay_ledger_witness_failures_total",
    "Times that a witness did not cosign; the ledger goes on without.",
    ["witness"],
    registry=METRICS,
)
SNAPSHOT_AGE = Gauge("assay_snapshot_age_seconds", "Time since a watch last gave a sign.", registry=METRICS)

TRUST_ROOT_REFRESHED = Gauge(
    "assay_trust_root_refreshed_timestamp_seconds",
    "When a TrustRoot's TUF repository was last read whole (Unix time).",
    ["trust_root"],
    registry=METRICS,
)
TRUST_ROOT_EXPIRES = Gauge(
    "assay_trust_root_expires_timestamp_seconds",
    "When the metadata of a TrustRoot's TUF repository expires (Unix time); maxStale later it is no longer believed.",
    ["trust_root"],
    registry=METRICS,
)
TRUST_ROOT_FAILURES = Counter(
    "assay_trust_root_refresh_failures_total",
    "Refreshes of a TrustRoot's TUF repository that failed; the last good copy stays.",
    ["trust_root"],
    registry=METRICS,
)


def exposition() -> bytes:
    """All metrics in Prometheus' text format."""
    return generate_latest(METRICS)


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, tz=UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info and record.exc_info[0]:
            line["error"] = record.exc_info[0].__name__
            line["trace"] = _trace(record.exc_info[1])
        return json.dumps(line)


class _TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, tz=UTC).strftime("%H:%M:%S")
        text = f"{time} {record.levelname.lower():7} {_one_line(record.getMessage())}"
        return f"{text}\n{_trace(record.exc_info[1])}" if record.exc_info and record.exc_info[1] else text


def _one_line(text: str) -> str:
    """The text with control characters written out: a name from outside must not look like a line of the log's own."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)


def _trace(error: BaseException | None) -> str:
    """Where an error came from: types and frames, and the message only of Assay's own errors, which hold no secret."""
    parts: list[str] = []
    while error is not None and len(parts) < MAX_CHAIN:
        what = str(error) if isinstance(error, AssayError) else type(error).__name__
        parts.append("".join(traceback.format_tb(error.__traceback__)) + what)
        error = error.__cause__ or error.__context__
    return "\nwhich came from\n".join(parts)


def configure_logging(level: str, form: str, stream: TextIO = sys.stderr) -> None:
    """Send log lines of `level` and above to `stream`, in the form `text`, `json` or `auto` (text on a terminal).

    Libraries that print what they evaluate (cel-python) stay above DEBUG.
    """
    handler = logging.StreamHandler(stream)
    text = form == "text" or (form == "auto" and stream.isatty())
    handler.setFormatter(_TextFormatter() if text else _JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in (
        "celpy",
        "Evaluator",
        "Environment",
        "NameContainer",
        "evaluation",
        "alembic",
        "asyncio",
        "aiohttp",
        "kopf",
    ):
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
