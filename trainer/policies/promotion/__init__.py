"""When a dry run may end, and ending it.

replayed, dry_run_metric -> gate -> promote -> promotion
"""
