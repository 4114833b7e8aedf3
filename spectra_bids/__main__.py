"""`python -m spectra_bids` is `spectra-bids`."""

import sys

from spectra_bids.cli import main

if __name__ == "__main__":
    sys.exit(main())
