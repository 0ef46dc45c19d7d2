"""One engine on the machine at hand, for `fleet engine`: built, inspected, measured, run, compared."""
