"""What is said of engines: build jobs and results, the questions of `fleet engine`, timing caches, metrics.

Everybody may import it. It imports the codec and nothing of `robot` or `node`.
"""
