"""The bytes of a DICOM object: syntaxes, Part 10 framing, scan, header facts, splice, offset tables. Below every room.

Nothing here decodes pixels, opens a socket or knows a configuration.
"""
