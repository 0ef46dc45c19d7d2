"""The robot's host side: one update transaction, journalled, that ends wholly on the old or wholly on the new release.

Stdlib and ``runtime.contract`` only, Python 3.8 to 3.13. Started as a zipapp; see ``main.py``.
"""

#: Raised with every change of behaviour; the digest of the zipapp is added to it at run time.
VERSION = "0.1.0"
