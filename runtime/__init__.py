"""Everything that runs on a robot or inside an L4T container."""
