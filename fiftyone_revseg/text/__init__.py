"""Text from outside, and what it may do where it is shown."""
