"""What was learned, as Istio AuthorizationPolicy: generated, checked, replayed, pushed, promoted, rolled back.

    bundle (description) -> generation -> validity -> files under policies/ -> cluster (diff, push, rollback)
    recorded calls + policies -> meaning (match, replay) -> promotion

`policy.py` is the one place that knows how an AuthorizationPolicy is spelled, `document.py` the one that reads and writes YAML.
"""
