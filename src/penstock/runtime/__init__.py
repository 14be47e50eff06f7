"""Execution environments: where functions run. Speaks AWS's Runtime API to them.

Knows processes, namespaces and cgroups; knows no service, no storage and no IAM (code folders, environment variables
and credentials are handed in).
"""
