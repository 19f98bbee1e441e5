"""A node that may open few files: ``FILES=n python -m tests.support.few_files``."""

from __future__ import annotations

import os
import resource

from dexnode.cli import main

if __name__ == "__main__":
    files = int(os.environ["FILES"])
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    main()
