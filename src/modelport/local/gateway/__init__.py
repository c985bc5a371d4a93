"""HTTPRoutes to the gateway's route table, purely, and the loop that keeps it on disk. Imports control, wire, kube."""
