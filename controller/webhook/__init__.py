"""The HTTPS server that the API server calls: `/mutate`, `/validate`, `/livez`, `/readyz`, `/metrics`."""
