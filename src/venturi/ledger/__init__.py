"""Facts: which instances there are, what was decided, made and delivered of them, and who is working on what."""
