"""The declared API: a file a kind. Typed structs, defaulting, validation, CRD generation, and `Problem`.

Every field has a sentence: meaning, unit, default. Pure: no I/O, no clock. Imports kube (never its client).
"""
