"""The whole loop with a model server that is not ours: `python -m bench.served DIRECTORY`.

DIRECTORY holds a model as `transformers` loads it, the demo model for instance (var/models/smollm2-… once it was added). A
`transformers serve` of it writes the pairs and, as an AI annotator, judges them in both orders; consensus makes triples, of
which a run of the same weights learns, here; the version that comes of it starts to serve by a second `transformers serve` of
its directory, writes the next pairs, and the first server judges those, too.

Of a judge that says the same letter whatever it reads, both orders never agree: each pair is a tie. If it decides nothing, it
only sorts the queue, and a script stands in for a person.
"""

import argparse
import tempfile
from pathlib import Path

from bench.environment import fresh_django

from .server import transformers_serve


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.served", description=__doc__.split("\n")[0])
    parser.add_argument("directory", type=Path, help="Of the model that the server has.")
    parser.add_argument("--steps", type=int, default=4, help="Of the run (default: %(default)s).")
    options = parser.parse_args()
    with fresh_django(), tempfile.TemporaryDirectory() as scratch, transformers_serve(options.directory, Path(scratch)) as served:
        from .loop import run_loop

        run_loop(options.directory, *served, steps=options.steps)


if __name__ == "__main__":
    main()
