"""A program of its own: an interpreter that has imported Modelport and, on demand, a framework, and forks itself.

`python -m modelport.forkserver --socket S --exits FOLDER`, one for each interpreter environment, started by the node
by command line, never imported by it. It never loads a model and never predicts: OpenMP's thread pools do not
survive a fork. May import cli, server and runtimes.
"""
