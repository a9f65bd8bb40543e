"""`python -m grading.demo`, or `make demo`."""

import sys

from grading.demo.demo_class import main

if __name__ == "__main__":
    sys.exit(main())
