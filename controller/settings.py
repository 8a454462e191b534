"""All settings, typed, in frozen sections: each part of Assay gets its own and none sees the whole.

One order everywhere: flag, then environment (`ASSAY_…`), then file (`--config`, YAML), then default. A name that is not
known is an error, since a setting misspelt is a bound not set. `docs/reference/settings.md` is generated from here.
"""

from __future__ import annotations

import dataclasses
import os
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from controller.errors import ConfigurationError

MiB = 1024 * 1024
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class Seconds(float):
    """A duration. Written `500ms`, `10s`, `5m`, `24h`, `14d` or a bare number of seconds."""


def _setting(default: Any, text: str, *, secret: bool = False, choices: tuple[str, ...] = ()) -> Any:
    return field(default=default, metadata={"help": text, "secret": secret, "choices": choices})


def _state_directory() -> Path:
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "assay"


@dataclass(frozen=True, slots=True)
class LogSettings:
    """What is said on standard error."""

    log_level: str = _setting(
        "info", "Verbosity: debug, info, warning or error.", choices=("debug", "info", "warning", "error")
    )
    log_format: str = _setting(
        "auto", "auto (text on a terminal, else json), text or json.", choices=("auto", "text", "json")
    )


@dataclass(frozen=True, slots=True)
class RegistrySettings:
    """Speaking to registries: whom Assay may reach, and how much it takes from them."""

    registry_insecure_hosts: tuple[str, ...] = _setting(
        (),
        "Registry hosts (host:port) that may be spoken to by plain HTTP. Insecure: content is still checked by digest.",
    )
    registry_ca_files: tuple[str, ...] = _setting(
        (), "Own certificate authorities, as host=FILE; host * is for all registries."
    )
    registry_allow_loopback: bool = _setting(
        False, "Allow registries on loopback addresses, by plain HTTP too. The CLI sets it."
    )
    registry_allow_private: bool = _setting(True, "Allow registries on private address ranges (RFC 1918, RFC 4193).")
    registry_denied_addresses: tuple[str, ...] = _setting(
        (), "Addresses or networks never reached, beside link-local, unspecified and the API server's own."
    )
    registry_connect_timeout: Seconds = _setting(Seconds(3), "Bound on one connection attempt, TLS included.")
    registry_request_timeout: Seconds = _setting(Seconds(20), "Bound on one request, redirects and token included.")
    registry_max_manifest_bytes: int = _setting(4 * MiB, "Bound on one manifest or index.")
    registry_max_blob_bytes: int = _setting(32 * MiB, "Bound on one evidence blob.")
    registry_max_evidence_bytes: int = _setting(64 * MiB, "Bound on all evidence of one image.")
    registry_max_referrers: int = _setting(256, "Bound on evidence artefacts read for one image.")
    registry_max_config_bytes: int = _setting(1 * MiB, "Bound on the configuration of one manifest of an image.")
    registry_max_configs: int = _setting(64, "Bound on the manifests of one image whose configuration is read.")
    registry_max_redirects: int = _setting(5, "Bound on redirects of one request.")
    registry_connections_per_host: int = _setting(32, "Connections kept to one registry host.")
    registry_flights: int = _setting(512, "Bound on registry work under way at once.")
    registry_circuit_failures: int = _setting(
        5, "Connection failures or time-outs in a row that open a host's circuit."
    )
    registry_circuit_pause: Seconds = _setting(Seconds(10), "How long an open circuit answers Unavailable at once.")
    registry_mirrors: tuple[str, ...] = _setting(
        (), "Mirrors, as HOST=MIRROR[:PORT][/PATH], asked in order before the host; HOST=! never asks the host itself."
    )
    registry_credential_providers_config: str = _setting(
        "", "The kubelet's CredentialProviderConfig file: plugins that give credentials for registries. Empty: none."
    )
    registry_credential_providers_directory: str = _setting(
        "", "Where the plugins' executables lie, each by its provider's name."
    )
    registry_credential_provider_timeout: Seconds = _setting(
        Seconds(20), "Bound on one run of a credential provider's plugin."
    )


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """The processes in which everything happens that costs CPU."""

    worker_processes: int = _setting(2, "Worker processes for verification, documents and evidence rules.")
    worker_memory_bytes: int = _setting(768 * MiB, "Address-space growth that ends one worker, and only its own job.")
    worker_timeout: Seconds = _setting(Seconds(20), "Bound on one job, whatever its caller's deadline.")
    worker_max_jobs: int = _setting(2000, "Jobs after which a worker is replaced by a fresh one.")


@dataclass(frozen=True, slots=True)
class DocumentSettings:
    """Bounds on attested documents."""

    document_max_bytes: int = _setting(32 * MiB, "Bound on one attested document.")
    document_max_depth: int = _setting(100, "Bound on the nesting of one document.")
    document_max_components: int = _setting(200_000, "Bound on the components of one SBOM.")


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """Bounds on policies and on what their expressions may cost."""

    policy_cel_steps: int = _setting(100_000, "Evaluation steps that one expression may take.")
    policy_cel_timeout: Seconds = _setting(Seconds(2), "Time that one expression may take.")
    policy_cel_max_length: int = _setting(10_000, "Bound on the characters of one expression.")
    policy_cel_max_total_length: int = _setting(
        65_536, "Bound on the characters of all expressions of one policy: what compiling it may cost."
    )
    policy_cel_max_depth: int = _setting(24, "Bound on the nesting of one expression.")
    policy_cel_max_value_bytes: int = _setting(1 * MiB, "Bound on one string, list or map built by an expression.")


@dataclass(frozen=True, slots=True)
class ExceptionSettings:
    """What an EvidenceException may grant."""

    exception_max_duration: Seconds = _setting(
        Seconds(30 * 86_400), "Longest time from an exception's approval to its end (break-glass: at most four hours)."
    )
    exception_expires_soon: Seconds = _setting(
        Seconds(72 * 3600), "How long before its end an exception is told of (break-glass: 30 minutes)."
    )


@dataclass(frozen=True, slots=True)
class ReviewSettings:
    """How a review decides and what it remembers."""

    no_match: str = _setting(
        "Allow",
        "An image that no ClusterEvidencePolicy with Deny matched: Deny, Warn or Allow.",
        choices=("Deny", "Warn", "Allow"),
    )
    cluster_name: str = _setting(
        "local", "This cluster's name in the inventory; of several that record in one database each needs its own."
    )
    evidence_max_age: Seconds = _setting(
        Seconds(600), "Age at which remembered evidence is asked for anew, in the background."
    )
    grace: Seconds = _setting(
        Seconds(86_400), "Age up to which remembered evidence still counts while its registry is away; 0: none does."
    )
    tag_grace: Seconds = _setting(
        Seconds(3600), "How long a tag goes on naming its last digest while its registry is away, within grace."
    )
    missing_max_age: Seconds = _setting(Seconds(5), "How long an image without evidence is remembered as such.")
    tag_max_age: Seconds = _setting(Seconds(10), "How long a tag's digest is remembered.")
    failure_max_age: Seconds = _setting(Seconds(2), "How long a failure to reach a registry is remembered.")
    cache_images: int = _setting(10_000, "Images whose digest, evidence and verdicts are remembered.")
    cache_evidence_bytes: int = _setting(64 * MiB, "Bytes of raw evidence that are remembered.")
    cache_config_bytes: int = _setting(16 * MiB, "Bytes of images' configurations that are remembered.")
    cache_verdict_bytes: int = _setting(64 * MiB, "Bytes of verdicts and of the documents beside them, as estimated.")
    review_max_bytes: int = _setting(
        256 * MiB, "Bytes of evidence in memory at once: being fetched, judged and remembered, of all images together."
    )
    review_flights: int = _setting(1024, "Bound on evidence work (fetching, verifying) under way at once.")
    review_work_timeout: Seconds = _setting(Seconds(60), "Bound on one piece of evidence work, whoever waits for it.")
    templates: str = _setting(
        "Warn",
        "What a denial of a workload template comes to: Warn, Deny or Ignore.",
        choices=("Warn", "Deny", "Ignore"),
    )
    answer_reserve: Seconds = _setting(
        Seconds(0.5), "Time kept back before the API server's deadline, to record and answer."
    )


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """The HTTPS server that the API server calls."""

    webhook_host: str = _setting("0.0.0.0", "Address that the webhook listens on.")  # noqa: S104 - a pod's own address
    webhook_port: int = _setting(8443, "Port that the webhook listens on; 0 takes a free one.")
    webhook_max_body_bytes: int = _setting(8 * MiB, "Bound on one AdmissionReview.")
    webhook_max_bytes: int = _setting(
        256 * MiB, "Bytes of all reviews; past it those still coming in make room, then it is 429."
    )
    webhook_timeout: Seconds = _setting(Seconds(10), "Deadline where the API server names none.")
    webhook_max_reviews: int = _setting(1024, "Reviews under way at once; one more is answered 429.")
    webhook_max_bodies: int = _setting(
        1024, "Reviews that are still coming in; one more displaces the one that has been coming the longest."
    )
    webhook_max_policy_reviews: int = _setting(
        32, "Reviews of Assay's own resources under way, or still coming in, at once; one more is answered 429."
    )
    webhook_max_policy_bytes: int = _setting(32 * MiB, "Bytes of all reviews of Assay's own resources.")
    webhook_client_ca_file: str = _setting(
        "", "CAs (PEM) of the API servers' client certificates: without one nobody is reviewed for. Empty: anybody is."
    )
    webhook_client_names: tuple[str, ...] = _setting(
        (), "Names (CN or SAN) one of which the client certificate must have; empty: any by webhook_client_ca_file."
    )
    webhook_certificate_file: str = _setting("", "TLS certificate chain (PEM). Empty: Assay makes its own.")
    webhook_key_file: str = _setting("", "TLS key (PEM) of the certificate.")
    webhook_certificate_directory: str = _setting(
        "", "Where Assay keeps the certificates that it makes; empty: a folder in the state directory."
    )
    webhook_names: tuple[str, ...] = _setting(
        ("localhost", "127.0.0.1"), "DNS names and addresses of the certificate that Assay makes."
    )

    def certificate_directory(self) -> Path:
        """Where the certificates that Assay makes are kept, with the default filled in."""
        return Path(self.webhook_certificate_directory or _state_directory() / "certificates")


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """Where policies, secrets and namespaces are read."""

    policies: str = _setting("", "Read policies from this directory and use no cluster.")
    watch_pods: bool = _setting(
        True, "Record what runs: each start and end of a container, by the digest that its kubelet reports."
    )
    trusted_root: tuple[str, ...] = _setting((), "Sigstore TrustedRoot files, as NAME=FILE.")
    kubeconfig: str = _setting("", "Kubeconfig file; empty: the service account, else the user's default.")
    assay_namespace: str = _setting("assay-system", "The namespace that Assay runs in.")
    assay_image: str = _setting(
        "", "The image that Assay runs as: a policy with Deny that matches it is told of. Empty: not known."
    )
    webhook_configuration: str = _setting(
        "assay", "The webhook configurations whose caBundle Assay fills in; empty: none."
    )
    lease: str = _setting(
        "assay",
        "The Lease in assay_namespace whose holder alone numbers the records of a database that several processes "
        "share; empty: they agree by the database alone, more slowly.",
    )
    snapshot_max_age: Seconds = _setting(Seconds(120), "Silence of a watch after which a replica is unready.")
    tuf_directory: str = _setting(
        "", "Where the last good copies of TUF repositories are kept; empty: a folder in the state directory."
    )
    tuf_ca_file: str = _setting("", "Own certificate authorities (PEM) of TUF repositories; empty: the system's.")
    tuf_request_timeout: Seconds = _setting(Seconds(20), "Bound on one file of a TUF repository.")
    tuf_max_bytes: int = _setting(5 * MiB, "Size of one file of a TUF repository.")

    def tuf_folder(self) -> Path:
        """Where the last good copies are kept."""
        return Path(self.tuf_directory or _state_directory() / "tuf")


@dataclass(frozen=True, slots=True)
class InventorySettings:
    """Where decisions and evidence are kept."""

    database_url: str = _setting(
        "", "sqlite:///FILE or postgresql+psycopg://…; empty: a file in the state directory.", secret=True
    )
    database_group_size: int = _setting(256, "Records that one commit may hold.")
    database_queue: int = _setting(4096, "Records that may wait for a commit.")
    database_readers: int = _setting(2, "Connections that read.")
    database_reader_url: str = _setting(
        "",
        "PostgreSQL as a role that cannot write, for all that only reads; empty: database_url, in transactions that"
        " cannot.",
        secret=True,
    )
    database_query_url: str = _setting(
        "", "PostgreSQL as a role that reads the stable views alone, for `assay query`.", secret=True
    )
    query_timeout: Seconds = _setting(Seconds(10), "Time that a question in SQL may take.")
    query_max_rows: int = _setting(10_000, "Rows that its answer may have; one that is cut says so.")
    query_max_bytes: int = _setting(16 * MiB, "Bytes that its answer may have.")
    durability: str = _setting(
        "Spool",
        "Where a decision must be durable before the answer while the database is away: Spool (a file) or Database.",
        choices=("Spool", "Database"),
    )
    spool_directory: str = _setting(
        "", "Where records wait for a database that is away; empty: beside an SQLite file, else in the state directory."
    )
    spool_max_bytes: int = _setting(256 * MiB, "Bound on the records that wait in the spool.")
    spool_full: str = _setting(
        "Deny",
        "When the spool is full: Deny, or Admit without a record (counted in assay_records_lost_total, and logged).",
        choices=("Deny", "Admit"),
    )
    blob_directory: str = _setting(
        "",
        "Where large evidence is kept in files. Empty: beside an SQLite file; with PostgreSQL all evidence stays in "
        "the database, since every process has to see the same directory.",
    )
    blob_file_bytes: int = _setting(
        MiB, "Evidence of at least so many bytes, once compressed, is kept in a file; 0 keeps all in the database."
    )
    retain_decisions: Seconds = _setting(
        Seconds(0),
        "How long decisions are kept, such as 400d; 0 is for ever. What runs rest on is kept with them.",
    )
    retain_sightings: Seconds = _setting(
        Seconds(0), "How long a run is kept after it ended, such as 400d; 0 is for ever. One that goes on is kept."
    )
    retain_evidence: Seconds = _setting(
        Seconds(0), "How long evidence is kept that no kept record names any more; 0 is for ever."
    )
    ledger_merge_delay: Seconds = _setting(Seconds(5), "Time in which a record has its number in the ledger.")
    index_delay: Seconds = _setting(Seconds(5), "Time between two looks for attested documents that are not indexed.")
    ledger_key_file: str = _setting(
        "", "The ledger's private key (PEM, PKCS #8, Ed25519). Empty: one that Assay makes in ledger_directory."
    )
    export_key_file: str = _setting(
        "",
        "The private key that signs exports (PEM, PKCS #8, Ed25519). Empty: one that Assay makes in ledger_directory.",
    )
    ledger_origin: str = _setting(
        "", "The ledger's name in its checkpoints, such as assay.example.com/ledger; empty: assay/CLUSTER_NAME."
    )
    ledger_directory: str = _setting(
        "", "Where the ledger's keys and its last checkpoint are kept; empty: a folder in the state directory."
    )
    ledger_checkpoint_dir: str = _setting(
        "",
        "A directory that others keep (an object-lock bucket that is mounted, a folder that is synced), in which "
        "checkpoints become files, at most one a minute, never overwritten. Empty: none.",
    )
    ledger_witnesses: tuple[str, ...] = _setting(
        (), "Witnesses (C2SP tlog-witness) that are asked to cosign each checkpoint, as URL=NAME+ID+KEY; https only."
    )
    ledger_witness_allow_loopback: bool = _setting(False, "Allow witnesses on loopback addresses, by plain HTTP too.")
    inventory_host: str = _setting(
        "127.0.0.1", "Address of the read-only inventory; loopback unless inventory_access is Kubernetes."
    )
    inventory_access: str = _setting(
        "Open",
        "Who may read: Open (everybody; on loopback alone), or Kubernetes (who shows a token of the cluster and may).",
        choices=("Open", "Kubernetes"),
    )
    log_reads: str = _setting(
        "Off",
        "Which reads become records of the ledger before the answer leaves: Off, Evidence (of one thing, exports, SQL),"
        " or All.",
        choices=("Off", "Evidence", "All"),
    )
    inventory_port: int = _setting(8080, "Port of the read-only inventory; 0 takes a free one.")

    def spool_folder(self, file: Path | None) -> Path:
        """Where the spool is; `file` is the SQLite file, if it is one."""
        if self.spool_directory:
            return Path(self.spool_directory)
        return file.with_name(f"{file.name}.spool") if file is not None else _state_directory() / "spool"

    def blob_folder(self, file: Path | None) -> Path | None:
        """Where large evidence is kept; `file` is the SQLite file, if it is one. None keeps all in the database."""
        if self.blob_directory:
            return Path(self.blob_directory)
        return file.with_name(f"{file.name}.blobs") if file is not None else None

    def ledger_folder(self) -> Path:
        """Where the ledger's keys and its last checkpoint are kept."""
        return Path(self.ledger_directory or _state_directory() / "ledger")

    def url(self) -> str:
        """The database URL in force, with the default filled in."""
        return self.database_url or f"sqlite:///{_state_directory() / 'inventory.db'}"


@dataclass(frozen=True, slots=True)
class Settings:
    """All sections. Only `controller.app` and the CLI see this."""

    log: LogSettings = LogSettings()
    registry: RegistrySettings = RegistrySettings()
    workers: WorkerSettings = WorkerSettings()
    documents: DocumentSettings = DocumentSettings()
    policy: PolicySettings = PolicySettings()
    exceptions: ExceptionSettings = ExceptionSettings()
    review: ReviewSettings = ReviewSettings()
    webhook: WebhookSettings = WebhookSettings()
    cluster: ClusterSettings = ClusterSettings()
    inventory: InventorySettings = InventorySettings()


def names() -> dict[str, tuple[str, dataclasses.Field[Any]]]:
    """Every setting's name with its section and field."""
    return {
        setting.name: (section.name, setting)
        for section in dataclasses.fields(Settings)
        for setting in dataclasses.fields(typing.get_type_hints(Settings)[section.name])
    }


def load(
    *,
    flags: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
    file: Path | None = None,
) -> Settings:
    """The settings in force.

    `flags` are by setting name, None meaning *not given*. Raises `ConfigurationError` (`SettingUnknown`,
    `SettingInvalid`, `ConfigUnreadable`) naming the setting and where it came from.
    """
    known = names()
    environment = os.environ if environment is None else environment
    given: dict[str, Any] = {}
    for name, value in _from_file(file).items():
        given[_known(name, known, f"file {file}")] = (value, f"file {file}")
    for variable, value in environment.items():
        if variable.startswith("ASSAY_") and not _is_foreign(variable, value):
            name = _known(variable.removeprefix("ASSAY_").lower(), known, f"environment variable {variable}")
            given[name] = (value, f"environment variable {variable}")
    for name, value in (flags or {}).items():
        if value is not None:
            given[_known(name, known, "command line")] = (value, f"--{name.replace('_', '-')}")
    hints = typing.get_type_hints(Settings)
    sections = {}
    for section in dataclasses.fields(Settings):
        kind = hints[section.name]
        types_of = typing.get_type_hints(kind)
        values = {
            f.name: _convert(f, given[f.name][0], types_of[f.name], given[f.name][1])
            for f in dataclasses.fields(kind)
            if f.name in given
        }
        sections[section.name] = kind(**values)
    return Settings(**sections)


_OTHER_VARIABLES = frozenset({"ASSAY_TOOLS_DIR", "ASSAY_CONFIG"})
_SERVICE_LINK = re.compile(
    r"ASSAY_(?:[A-Z0-9_]+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?|PORT_[0-9]+_[A-Z]+(?:_[A-Z]+)?)"
)


def quotable(text: str) -> str:
    """A setting's text without what stands before an `@`, for a message: that may be somebody's user and password."""
    return re.sub(r"[^=\s]*@", "…@", text)[:200]


def _is_foreign(variable: str, value: str) -> bool:
    """Whether a variable is no setting: Kubernetes puts some into every pod beside a Service that is named `assay…`.

    https://kubernetes.io/docs/tutorials/services/connect-applications-service/#environment-variables
    """
    link = _SERVICE_LINK.fullmatch(variable) or (variable.endswith("_PORT") and re.match(r"(?:tcp|udp|sctp)://", value))
    return variable in _OTHER_VARIABLES or bool(link)


def _known(name: str, known: Mapping[str, Any], source: str) -> str:
    if name not in known:
        raise ConfigurationError(
            "SettingUnknown", f"{source}: there is no setting {name!r} (docs/reference/settings.md)"
        )
    return name


def _from_file(file: Path | None) -> Mapping[str, Any]:
    if file is None:
        return {}
    try:
        content = yaml.safe_load(file.read_text()) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as exc:
        raise ConfigurationError("ConfigUnreadable", f"{file} cannot be read as YAML: {type(exc).__name__}") from exc
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise ConfigurationError("ConfigUnreadable", f"{file} must be a YAML map of setting names to values")
    return content


def _convert(setting: dataclasses.Field[Any], value: Any, kind: Any, source: str) -> Any:
    choices = setting.metadata["choices"]
    try:
        if typing.get_origin(kind) is tuple or isinstance(kind, types.GenericAlias):
            return _texts(value)
        if kind is bool:
            return _boolean(value)
        if kind is Seconds:
            return _seconds(value)
        if kind is int:
            return _whole(value)
        text = _text(value)
        if choices and text not in choices:
            raise ValueError(value)
        return text
    except (ValueError, TypeError) as exc:
        words = {bool: "true or false", Seconds: "a duration such as 10s", int: "a whole number", str: "text"}
        expected = f"one of {', '.join(choices)}" if choices else words.get(kind, "a list of text")
        raise ConfigurationError("SettingInvalid", f"{source}: {setting.name} must be {expected}") from exc


def _text(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float | Path):
        raise TypeError(value)
    return str(value)


def _texts(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        value = value.split(",")
    if not isinstance(value, list | tuple):
        raise TypeError(value)
    return tuple(text for item in value if (text := _text(item).strip()))


def _whole(value: Any) -> int:
    if isinstance(value, str) and not re.fullmatch(r"[0-9]{1,18}", value.strip()):
        raise ValueError(value)
    if isinstance(value, bool) or not isinstance(value, str | int) or int(value) < 0:
        raise ValueError(value)
    return int(value)


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    text = str(value).strip().lower()
    if text not in {"true", "false", "1", "0", "yes", "no"}:
        raise ValueError(value)
    return text in {"true", "1", "yes"}


def _seconds(value: Any) -> Seconds:
    if isinstance(value, bool):
        raise TypeError(value)
    if isinstance(value, int | float):
        number, unit = float(value), "s"
    else:
        match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|h|d)?", str(value).strip())
        if match is None:
            raise ValueError(value)
        number, unit = float(match[1]), match[2] or "s"
    if not 0 <= number < float("inf"):
        raise ValueError(value)
    return Seconds(number * _UNITS[unit])
