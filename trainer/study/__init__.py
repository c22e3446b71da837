"""The service-mesh study, done on the user's own traffic: does clustering telemetry tell normal calls from the others.

From records to a report, a module a step: `telemetry` (a call as an access log shows it), `sample` (bounded memory), `table`,
`features` (one-hot, logarithms, scales), `clusters` (PCA, k-means), `explanation` (what the clusters restate), `agreement` (with
labels and verdicts), `study` (all figures), `charts` and `plots`, `report` (words), `publish` (files).

It looks at what an access log holds and at nothing else; the model on the request path (`engine/numeric.py`) is another one.
"""
