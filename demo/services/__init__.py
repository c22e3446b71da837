"""The services of the sample mesh: each a small aiohttp application, started as `python -m demo.services.<name>`.

They know nothing of meshwarden. Those of `shop` have holes on purpose; demo/README.md lists them.
"""
