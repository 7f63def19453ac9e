"""One launch of a build on a running cluster, as a process that a test can kill.

python -m tests.pipeline.driver RUN_DIR BASE ADDRESS NUM_CONCEPTS
"""

import sys
from pathlib import Path

from pipeline.build import build
from tests.pipeline.conftest import micro_config
from tests.pipeline.fake_fleet import fake_concepts, fake_fleet

if __name__ == "__main__":
    run_dir, base, address, count = sys.argv[1:]
    build(
        Path(run_dir),
        micro_config(),
        fake_concepts(int(count)),
        base_from=base,
        executor="ray",
        address=address,
        fleet=fake_fleet,
    )
