"""Streams: speech is recognised while it is being said, chunk by chunk."""
