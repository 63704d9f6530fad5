"""A whole folder tree through the transcode room: ``venturi compress``. Enter by ``port``."""
