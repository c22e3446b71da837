"""What was learned, as Istio AuthorizationPolicy: generated, checked, replayed, pushed, promoted, rolled back.

    bundle (description) -> learned -> generate -> check -> files under policies/ -> diff | push -> promote | rollback
    recorded calls + policies -> match -> replay

`policy.py` is the one place that knows how an AuthorizationPolicy is spelled.
"""
