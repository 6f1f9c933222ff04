"""Race this project against other quantization tools; see ``python benchmarks/peers.py --help``."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).with_suffix("")))
    from command import main

    main()
