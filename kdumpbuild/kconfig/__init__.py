"""The kernel configuration: reading the tree, fragments, resolving, explaining."""
