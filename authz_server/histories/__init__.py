"""Where the callers' histories live: in this process (`memory.py`), or in a Redis that all replicas share (`redis_histories.py`).

a Call is matched -> Visit -> Histories.visit -> what its caller did before, as the models read it (`engine/history.py`)
its outcome comes -> Histories.settle -> a step that failed is taken back

Beside them: how fast callers go (`redis_paces.py`; `local_paces.py` while Redis can't be asked), and what replicas tell each
other of what followed, how calls ended and who is in quarantine (`redis_elsewhere.py`).
"""
