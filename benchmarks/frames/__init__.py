"""Processes of ``bench_frames``: a camera that also collects answers, and the node that people write first."""
