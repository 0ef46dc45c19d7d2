"""From a manifest to what every robot should run: defaults < group < robot, files → digests."""
