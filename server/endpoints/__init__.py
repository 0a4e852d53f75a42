"""What is behind each path: one module for each kind of endpoint. `routes` says which path leads where."""
