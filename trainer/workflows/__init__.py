"""The workflows that were learned, for people: `trainer workflows`.

bundle -> graph (steps, rules, callers, what follows) -> mermaid | dot | json
"""
