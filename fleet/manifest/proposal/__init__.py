"""A model's file proposed from what an ONNX file says of itself: `fleet init`.

`inspected` reads the graph, `images` and `vectors` propose inputs, `heads` what the outputs are (one file a family),
`model_yaml` writes it down with the reasons as comments. Only the command line imports it; it imports `load` and below.
"""
