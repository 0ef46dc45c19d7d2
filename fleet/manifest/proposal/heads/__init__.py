"""What a model's outputs are: one recogniser a family, pure functions over an inspected graph.

`registry` asks them in order. They import `proposal`, `metadata` and `images`, and each other only through `subject`;
`model_draft` imports `registry`.
"""
