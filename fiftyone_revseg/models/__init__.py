"""Models by name: presets, where their weights are, what they may ask for, and where they run."""
