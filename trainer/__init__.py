"""trainer: from recorded calls to a bundle, and from a bundle to what people and clusters need.

    importers/      other people's formats -> RawCall -> CallRecord        collect.py, mirror.py   live traffic -> store
    store.py        the segments, read in time order, calls joined with how they ended
    train.py        store -> bundle: workload_learner, fit_*, calibrate    evaluate.py   bundle against labelled calls
    openapi/        bundle -> OpenAPI documents                            workflows/    bundle -> graphs of who does what
    policies/       bundle -> AuthorizationPolicy, to a cluster and back   callers.py    store -> where sessions can be read
    study/          store -> the service-mesh study, honestly

`__main__.py` is the command line. Needs the extra `trainer`; the server never imports anything from here.
"""
