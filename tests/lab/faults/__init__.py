"""Killing things in the lab at every transition of the robot's journal. docs/lab.md says how to run it."""
