"""What the runtime container is told and says: its configuration, inputs and decoders, resources, health reports.

Everybody may import it. It imports the codec, `engine` and `robot`.
"""
