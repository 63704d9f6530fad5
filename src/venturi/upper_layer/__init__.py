"""What both sides of an association speak: PDUs, command sets and TLS (PS3.8 9, PS3.7 6.3, PS3.15 B.12)."""
