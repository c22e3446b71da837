"""trainer: from recorded calls to a bundle, and from a bundle to policies.

    importers/      other people's formats -> RawCall -> CallRecord        collect.py, mirror.py   live traffic -> store
    store.py        the segments, read in time order, calls joined with how they ended
    train.py        store -> bundle: fit_*, calibrate                      evaluate.py   bundle against labelled calls

`__main__.py` is the command line. Needs the extra `trainer`; the server never imports anything from here.
"""
