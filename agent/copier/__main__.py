"""`python -m agent.copier DESCRIPTOR PARENT`: what the daemon starts when there is something to copy."""

import gc
import sys

gc.disable()  # while modules load: it would look again and again at what stays

from agent.copier.main import main  # noqa: E402 - see above

gc.freeze()
gc.set_threshold(20_000)
gc.enable()
main(int(sys.argv[1]), int(sys.argv[2]))
