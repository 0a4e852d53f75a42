"""penstock: a gateway and a sans-IO toolkit for streams of tokens.

`penstock.protocol` is pure (bytes in, events out) and needs nothing but the standard library;
`penstock.providers` and `penstock.server` make the gateway of it, and need the `server` extra.
"""

__version__ = "0.1.0"
