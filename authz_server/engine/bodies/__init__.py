"""One module per format of a request body: bytes in, leaves out. `engine/body.py` chooses; nothing here raises."""
