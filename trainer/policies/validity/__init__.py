"""What may stand in a policy: istiod's rules (`check.py`, single values `field.py`) and the cluster's definition (`crd.py`)."""
