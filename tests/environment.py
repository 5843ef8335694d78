"""Loaded before anything else (`-p tests.environment`): pytest-django reads the settings before any conftest.

Nothing a test writes may land beside a real installation's data.
"""

import os
import tempfile
from pathlib import Path

os.environ["VAR_DIR"] = tempfile.mkdtemp(prefix="prefloop-test-")
(Path(os.environ["VAR_DIR"]) / "static").mkdir()  # whitenoise warns of a directory that is not there
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.pop("BASE_URL", None)
