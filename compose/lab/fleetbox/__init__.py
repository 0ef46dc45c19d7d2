"""A fleet in a box: an OCI registry and robots that are containers, on one Docker Engine. See docs/lab.md."""
