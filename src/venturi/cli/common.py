"""What the verbs share: the ``-c`` option, and finding and loading the configuration it names."""

import argparse
from pathlib import Path

from venturi import node
from venturi.config.load import load
from venturi.config.schema import Config
from venturi.errors import ConfigError

DEFAULTS = (Path("venturi.yaml"), Path("config/venturi.yaml"))


def add_config_option(parser: argparse.ArgumentParser) -> None:
    """Add ``-c FILE``."""
    parser.add_argument(
        "-c",
        "--config",
        metavar="FILE",
        type=Path,
        help="the configuration (default: ./venturi.yaml, else ./config/venturi.yaml)",
    )


def config_path(args: argparse.Namespace) -> Path:
    """The file to read: as asked for, or the first default that is there. Raises ConfigError where none is."""
    if args.config is not None:
        return Path(args.config)
    found = next((path for path in DEFAULTS if path.exists()), None)
    if found is None:
        raise ConfigError(
            ["no configuration: neither ./venturi.yaml nor ./config/venturi.yaml is here; give -c FILE"]
        )
    return found


def load_config(args: argparse.Namespace) -> Config:
    """Load it. Raises ConfigError with every mistake."""
    return load(config_path(args), node.known_codecs)
