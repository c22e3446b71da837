"""From files to a cluster and back.

wanted -> difference -> plan -> push (revisions keep what was) -> journal (audit log, Events)
"""
