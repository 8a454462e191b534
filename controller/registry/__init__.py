"""The only code that speaks OCI distribution: what a reference names, and which evidence lies beside it.

`client` is the way in and implements `review.ports.Registry`. `mirrors` says where to ask, `logins` as whom, and
`providers` what no pod brings. Below them, each layer trusts only the one under it: `discovery` (which artefacts belong
to an image) > `repository` (one repository as one credential sees it) > `authentication` (challenges and tokens) >
`transport` (one bounded HTTP exchange) > `addresses`, `proxies`, `endpoints`, `health`, `allowances` (whom to reach, by
which way, with which trust, whether now, and how much is left).

Specification: https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md
"""
