"""What a worker keeps while it does shares of one object of another worker's: it is opened and planned once."""

from dataclasses import dataclass, field
from pathlib import Path

from venturi.transcode.dataset_file import DatasetFile, open_dataset
from venturi.transcode.plan import Plan
from venturi.transcode.share_work import encode_share, prove_share
from venturi.transcode.shares import Done, Phase, Share

_Identity = tuple[int, int, int]


@dataclass(slots=True)
class Kept:
    """One object's plan."""

    of_share: Share
    source: _Identity
    plan: Plan
    _rendition: "tuple[_Identity, DatasetFile] | None" = field(default=None, init=False)
    """Once there is something to prove: the final file."""

    @classmethod
    def of(cls, share: Share, plan: Plan) -> "Kept":
        """Keep the plan for shares of the same. Raises OSError."""
        return cls(share, _identity(share.source), plan)

    def serves(self, share: Share) -> bool:
        """Whether the plan is that share's too. Raises OSError."""
        return self.source == _identity(share.source) and all(
            getattr(share, name) == getattr(self.of_share, name)
            for name in ("source", "target", "rendition", "depth", "lossless_instead")
        )

    def do(self, share: Share) -> Done:
        """Do a share. Raises OSError."""
        if share.phase is Phase.ENCODE:
            return encode_share(self.plan, share)
        identity = _identity(share.rendition)
        if self._rendition is None or self._rendition[0] != identity:
            self._rendition = (identity, open_dataset(Path(share.rendition)))
        return prove_share(self.plan, self._rendition[1], share)


def _identity(path: str) -> _Identity:
    """Which file that is, and as of when."""
    found = Path(path).stat()
    return found.st_ino, found.st_size, found.st_mtime_ns
