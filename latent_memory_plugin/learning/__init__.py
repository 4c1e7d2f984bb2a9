"""From an episode to a Latent: one file per stage, drawn in `street.py`."""
