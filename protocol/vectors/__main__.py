"""`python -m penstock.protocol.vectors [name ...]`: counts and failures, and the exit code 1 where there are any."""

import sys

from .runner import main

sys.exit(main(sys.argv[1:]))
