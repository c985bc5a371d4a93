"""The model server's Python side: what a model is, how it is loaded, called and replaced.

For authors of models and runtimes, and for the command line. It may import `protocol` and
`modelport._dataplane`; never a framework (those live in `runtimes`), never Kubernetes.
"""
