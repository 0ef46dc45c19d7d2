"""Hours of a robot's day: agent and executor under frames, kills, hangs, engines put in, and probes."""
