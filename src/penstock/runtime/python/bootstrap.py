"""AWS's Python runtime as a program of its own: what the script named by AWS_LAMBDA_EXEC_WRAPPER is given to run.

Runs inside an environment, on any Python: standard library and AWS's runtime client only.
"""

import os
import sys

version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
front = [os.environ["LAMBDA_TASK_ROOT"]]
for layer in os.environ.pop("PENSTOCK_LAYERS").split(":"):
    front += [layer + "/python/lib/" + version + "/site-packages", layer + "/python"]
sys.path[0:1] = [*front, os.environ.pop("PENSTOCK_RUNTIME_CLIENT")]

from awslambdaric.__main__ import main  # noqa: E402

main([sys.argv[0], os.environ["_HANDLER"]])
