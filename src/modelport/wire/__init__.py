"""The messages between our own programs on one machine: the gateway's route table, the fork server, who died how.

For `local`, the fork server and the gateway's Python side. Imports nothing of ours.
"""
