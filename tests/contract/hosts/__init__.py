"""Machines that `fleet` reaches: Engines and SSH servers, real and fake by one suite."""
