"""Bytes at rest: what is received and what is made of it, safe before anybody hears of it."""
