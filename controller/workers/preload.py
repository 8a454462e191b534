"""Imported once by the fork server: everything that a worker needs, used once, so that workers inherit it warm.

The first expression builds cel-python's parser, which costs more than a thousand later ones. What is loaded by then is
frozen for the garbage collector: its pages stay shared between the workers.
"""

from __future__ import annotations

import gc

from controller.policy.compiled import compile_policy
from controller.policy.parse import parse_policy
from controller.workers import assessment  # noqa: F401 - with all that it composes

_POLICY = {
    "apiVersion": "assay.dev/v1alpha1",
    "kind": "ClusterEvidencePolicy",
    "metadata": {"name": "warm"},
    "spec": {"validations": [{"expression": "image.registry == ''"}]},
}


def warm() -> None:
    """Use once what is slow the first time."""
    compile_policy(parse_policy(_POLICY))
    gc.collect()
    gc.freeze()


warm()
