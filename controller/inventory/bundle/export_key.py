"""The key that signs what is exported: given, or made once beside the ledger's."""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from controller.errors import ConfigurationError
from controller.inventory.bundle.signing import ExportKey
from controller.inventory.ledger.keeping import PUBLIC_KEY
from controller.inventory.ledger.notes import NoteKey
from controller.settings import InventorySettings

KEY, PUBLIC = "export.key", "export.pub"


def open_export_key(settings: InventorySettings) -> ExportKey:
    """The private key: from `export_key_file`, or made once in the ledger's directory, its public half beside it.

    Raises `ConfigurationError` (`ExportKeyUnreadable`), which never quotes the file.
    """
    directory = settings.ledger_folder()
    path = Path(settings.export_key_file) if settings.export_key_file else directory / KEY
    try:
        if not settings.export_key_file and not path.exists():
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            made = ExportKey(Ed25519PrivateKey.generate())
            _create(path, made.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        key = load_pem_private_key(path.read_bytes(), None)
        if not isinstance(key, Ed25519PrivateKey):
            raise ConfigurationError("ExportKeyUnreadable", f"{path} is no Ed25519 key")
        found = ExportKey(key)
        if not settings.export_key_file and not (directory / PUBLIC).exists():
            _create(directory / PUBLIC, found.pem())
    except OSError as exc:
        raise ConfigurationError("ExportKeyUnreadable", f"the key for exports {path}: {exc.strerror}") from exc
    except (ValueError, TypeError) as exc:
        raise ConfigurationError("ExportKeyUnreadable", f"{path} is no unencrypted PEM private key (PKCS #8)") from exc
    return found


def ledger_key(settings: InventorySettings) -> NoteKey | None:
    """The ledger's verifier key as it lies in its directory; None where there is none, or none that can be read."""
    try:
        return NoteKey.parse((settings.ledger_folder() / PUBLIC_KEY).read_text())
    except (OSError, ValueError):
        return None


def _create(path: Path, content: bytes) -> None:
    """All of it or nothing, for its owner alone; what another process made meanwhile stays."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        path.hardlink_to(fresh)
    except FileExistsError:
        pass
    finally:
        fresh.unlink(missing_ok=True)
