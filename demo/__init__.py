"""A mesh on one machine: real Envoys with mutual TLS, small services, clients and attacks, to watch meshwarden learn.

`python -m demo run` tells the whole story; `demo.envoy_config`, `demo.identities` and `demo.processes` are also what
the end-to-end tests start a single Envoy with.
"""
