"""bench: how fast and how good, measured on this machine; `make bench` runs `python -m bench`, which is `speed` and `detection`.

    workload    a seeded shop: CheckRequests as a real Envoy sends them, and the bundle learned from them
    speed       the real server beside an empty handler on the same transport (`empty`, `servers`, `load`); its stages (`stages`)
    detection   any file of the `calls` shape: rates at several budgets (`datasets`), with `poison`, `memory` and `ablation`
    workflows   generated sessions with labelled abuse of the workflow, caught and alarmed, and the sequence model's cost
    table       one plain table, and JSON under bench/out/

Machines differ and other people's work disturbs: what is compared is measured in the same run, interleaved, and given as the
median of the rounds' ratios with the least and greatest.
"""
