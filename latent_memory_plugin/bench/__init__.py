"""The measurements behind the numbers in the documentation."""

DEMO_PROBLEMS = 300
"""Length of the demo's stream."""
