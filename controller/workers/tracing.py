"""Why a policy says what it says of an image: its rules, part by part, over evidence that is verified once more.

In a worker like an assessment, for the same reasons; asked by the command line alone.
"""

from __future__ import annotations

from controller.policy.trace import trace_rules
from controller.review.ports import Explained, TraceJob
from controller.settings import DocumentSettings, PolicySettings
from controller.workers.assessment import weigh


def trace(job: TraceJob, *, documents: DocumentSettings, policy: PolicySettings) -> Explained:
    """Every variable, validation and audit annotation of the policy. Raises nothing for what the evidence holds."""
    weighed = weigh(job.assessment, documents=documents, policy=policy)
    if not weighed.complete:
        return Explained(asked=False, expressions=())
    traced = trace_rules(
        weighed.compiled,
        evidence=weighed.evidence,
        image=job.assessment.image,
        use=job.use,
        request=job.request,
        namespace=job.namespace,
        now=job.assessment.now,
        configs=weighed.configs,
    )
    return Explained(asked=True, expressions=traced)
