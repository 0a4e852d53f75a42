"""Language-neutral conformance data: what goes into each machine, and what has to come out.

The JSON files are the data, and the README beside them says how to use them from any language; `load` gives them to
Python. `run`, and `python -m penstock.protocol.vectors`, try this library on them.

The only part of `penstock.protocol` that reads files: nothing else there imports it.
"""

from .files import NAMES, load
from .runner import Failure, Report, check, run

__all__ = ["NAMES", "Failure", "Report", "check", "load", "run"]
