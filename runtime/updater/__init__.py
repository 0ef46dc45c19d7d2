"""The robot's host side: one update transaction, journalled, that ends wholly on the old or wholly on the new release.

It imports the standard library and ``runtime.contract`` only, Python 3.8 to 3.13, and nothing imports it. Started as a
zipapp; see ``cli/main.py``.
"""

#: Raised with every change of behaviour; the digest of the zipapp is added to it at run time.
VERSION = "0.1.0"
