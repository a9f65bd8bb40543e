"""The tests of grading, from a tiny class to hostile submissions."""
