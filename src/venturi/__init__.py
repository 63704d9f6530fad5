"""Venturi: a DICOM router that compresses on receipt, proves every pixel, and loses nothing it acknowledged.

Read the folders as the flow: ``receive`` -> ``spool`` -> ``ledger`` -> ``rules`` -> ``transcode`` -> ``deliver``.
"""

__version__ = "0.1.0"

IMPLEMENTATION_CLASS_UID = "2.25.305828488182831875890203105390285383139"
"""Ours in file meta and in association negotiation (PS3.7 D.3.3.2): a UUID-derived UID (PS3.5 B.2)."""

IMPLEMENTATION_VERSION_NAME = f"VENTURI_{__version__}"[:16]
