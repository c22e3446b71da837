"""authz_server: answers Envoy's ext_authz Check from what the trainer learned.

A call flows through these modules, top to bottom:

    request.py      Envoy's CheckRequest -> RawCall
    engine/         RawCall -> Call -> Judgement -> Verdict, pure: canonical, endpoint, parameters, sequence, edges, volume,
                    calibration, decide, verdict
    histories/      what a Call's caller did before and how fast it goes: in memory, or shared by replicas
    response.py     Verdict -> CheckResponse bytes
    check.py        the gRPC method that runs them in one straight line, and the one place that turns an exception into an answer
    access_log.py   how each call ended -> Outcome, joined to its Check
    afterwards.py   what can be told of a call only then: alerts, and who goes into quarantine.py

and around that line: settings, enforcement (policy file), bundle (what was learned), recorder (calls -> store), decision_log,
metrics, admin, server (wires all and drains). Read next: `engine/verdict.py`, `check.py`, `trainer/train.py`.
"""
