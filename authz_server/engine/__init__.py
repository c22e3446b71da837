"""From Call to Verdict: pure functions and frozen data, no I/O, clock, logging or randomness; time is an argument.

    canonical   RawCall -> Call (through target, body, observe)
    endpoint    which endpoint a Call is
    parameters  what is odd about it by itself          (point model)
    sequence    what is odd given what came before      (sequence model; `history` holds what came before)
    edges       who calls whom; `follow`: which calls must follow inside the mesh
    volume      how fast callers go                     (volume model; `counters` holds the callers, `pace` one of them)
    evidence    how surprising something never seen is, given how much was seen
    calibration from a score to a p-value
    decide      all of these -> Judgement
    verdict     Judgement + policy -> Verdict, the object that response, log, metrics and console derive from
    model       everything learned about one workload, as it lies in the bundle

Imports only the standard library, numpy, msgspec and google-re2.
"""
