"""Fetching for a robot on a bad link: what came over stays, a cut link goes on where it was cut, a rate is kept.

`robot/fetch_process.py` is the daemon's side and starts one process a fetch (`child.py`), which alone loads HTTP and
TLS. The child gives the Engine a registry on 127.0.0.1 (`loopback.py`); whatever the Engine lacks it asks there, and
the child brings it from the real registry into the robot's store (`storage/blob_store.py`), resumed, measured and
checked (`download.py`).

Imports `robot` and what is below it; nothing imports it, it is started as a program.
"""
