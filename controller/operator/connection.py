"""Tells kopf what `cluster.client` knows of the API server, so that both are always set up alike."""

from __future__ import annotations

import asyncio

import kopf

from controller.cluster.client import load_connection
from controller.settings import ClusterSettings


def connection_info(settings: ClusterSettings) -> kopf.ConnectionInfo:
    """The connection in kopf's words, credentials read anew. Call it outside of an event loop.

    Raises `ConfigurationError` (`KubeconfigInvalid`).
    """
    connection = asyncio.run(load_connection(settings))
    return kopf.ConnectionInfo(
        server=connection.server,
        ca_path=connection.ca_file or None,
        insecure=not connection.verify,
        scheme=connection.scheme or None,
        token=connection.token or None,
        certificate_path=connection.certificate_file or None,
        private_key_path=connection.key_file or None,
        proxy_url=connection.proxy or None,
    )
