"""authz_server: answers Envoy's ext_authz Check from what the trainer learned.

A call flows through these modules, top to bottom:

    request.py      envoy's CheckRequest -> RawCall
    engine/         RawCall -> Call -> Verdict, pure: canonical, endpoint, parameters, sequence, calibration, decide, verdict
    response.py     Verdict -> CheckResponse bytes
    check.py        the gRPC method that runs the three in one straight line, and the one place that turns an exception into an
    answer access_log.py   how each call ended -> Outcome, joined to its Check

and around that line: settings, enforcement (policy file), bundle (what was learned), recorder (calls -> store), decision_log,
metrics, admin, server (wires all and drains). Read next: `engine/verdict.py`, `check.py`, `trainer/train.py`.
"""
