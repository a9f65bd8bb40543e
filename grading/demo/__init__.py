"""A made-up class of four, to try grading on: `make demo`."""
