"""The demo's two functions, deployed as they stand here. They run inside execution environments, not in the command."""
