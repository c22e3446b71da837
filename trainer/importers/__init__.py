"""Other people's formats, one module each: bytes in, ImportedCalls out. `trainer/imports.py` makes records of them."""
