"""From one object to its renditions: guards, frames, codecs, proof; and the workers that may die over it."""
