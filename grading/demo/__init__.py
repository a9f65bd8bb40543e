"""A fictional class of four to try grading on: `make demo`."""
