"""What runs a model. `base.py` says what is asked of it; each engine is behind its own door."""
