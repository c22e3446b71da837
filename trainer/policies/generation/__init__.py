"""From a bundle to files: who calls what, what is granted, as which rules.

learned -> grants -> rules (path) -> generate
"""
