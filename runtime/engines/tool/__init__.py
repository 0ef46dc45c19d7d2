"""One engine on the machine at hand, for `fleet engine`: built, inspected, measured, run, compared.

Imports every other room of `runtime.engines`; nothing imports it, it is started as a program.
"""
