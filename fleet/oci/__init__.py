"""What lies in a registry, read as what anybody who may write there could have put."""
