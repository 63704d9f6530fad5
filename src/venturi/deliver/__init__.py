"""Hands renditions over to folders and peers, and removes what has been delivered and kept long enough."""
