"""What a command shows while it works: the events of its stages, as bars or lines."""
