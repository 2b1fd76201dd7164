"""Names of text encodings."""

from __future__ import annotations

import codecs

from spanlake.core.errors import ConfigError


def codec_of(encoding: str) -> str:
    """Return the encoding's one name; raises ConfigError for an encoding that does not exist."""
    try:
        "".encode(encoding)  # hex and its kin are codecs of bytes
        return codecs.lookup(encoding).name
    except LookupError:
        raise ConfigError(
            f"no encoding is called {encoding!r}; some that are: utf-8, cp1252 (Windows), latin-1"
        ) from None
