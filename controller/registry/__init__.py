"""The only code that speaks OCI distribution: what a reference names, and which evidence lies beside it.

`client` is the way in and implements `review.ports.Registry`. Below it, each layer trusts only the one under it:
`discovery` (which artefacts belong to an image) > `repository` (one repository as one credential sees it) >
`authentication` (challenges and tokens) > `transport` (one bounded HTTP exchange) > `addresses`, `proxies`,
`endpoints`, `health` (whom to reach, by which way, with which trust, and whether now).

Specification: https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md
"""
