"""The only package that speaks to the Kubernetes API: thin requests on `kubernetes.aio`, objects as plain dicts.

`client` sends one request and translates errors, `watch` keeps a collection mirrored, `directory` makes of mirrors what
reviews need of a cluster (namespaces, service accounts, pull secrets, nodes), `webhooks` keeps `caBundle` filled in.
"""
