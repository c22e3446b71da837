"""What policies say about a request (`match.py`), and about recorded traffic (`replay.py`)."""
