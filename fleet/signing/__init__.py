"""What is signed, and how: statements about builds and releases. Below the manifest; nothing here asks anybody."""
