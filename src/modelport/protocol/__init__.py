"""What travels, as Python sees it: datatypes, requests, responses and errors.

For everybody who writes or runs a model. The bytes on the wire belong to the Rust codecs; this room only
gives their contents Python names. It may import NumPy, msgspec and `modelport._dataplane`, nothing of ours.
"""
