"""`make demo`: two rounds of judging and training on the real model, with nobody at the keyboard.

Everything goes through the product as it is: `manage.py set_up` and `serve`, sign-in links, the compare page's
addresses, the Train button's address, the run's own pages. Only the last part, the measurement on held-out prompts,
looks into the database.
"""

import argparse
import json
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

from tqdm import tqdm

from .people import Person, judge_until
from .product import ROOT, Product
from .report import Row, markdown_table, write_report
from .tastes import TASTES

PROJECT = "demo"


def main() -> None:
    options = parse(sys.argv[1:])
    directory = options.directory or ROOT / "var" / f"demo-{datetime.now():%Y%m%d-%H%M%S}"
    began = time.monotonic()
    minutes = []
    with Product(directory) as product:
        print(f"The product serves at {product.environment['BASE_URL']}; its log is {product.log}", flush=True)
        owner = Person(product.link, PROJECT)
        people = [
            Person(product.sign_in_link(product.manage("add_member", PROJECT, name, "--role", "annotator")), PROJECT)
            for name in ("ada", "ben")
        ]
        for number, pairs in enumerate(options.pairs, start=1):
            minutes.append(play_round(number, pairs, owner, people, options))
    rows = measure(product, options.taste, minutes)
    write_report(rows, options.output, options.taste)
    print(f"\n{markdown_table(rows)}\n\nTable and picture: {options.output}/demo.md, demo.png")
    print(f"{(time.monotonic() - began) / 60:.1f} minutes in all")
    sys.exit(verdict(rows))


def parse(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.demo", description=__doc__)
    parser.add_argument("--taste", choices=TASTES, default="brief", help="What the annotators like (default: %(default)s).")
    parser.add_argument("--pairs", type=int, nargs="+", default=[40, 48], help="Decided pairs per round (default: %(default)s).")
    parser.add_argument("--preset", default="small", help="The trainer's preset (default: %(default)s).")
    parser.add_argument("--directory", type=Path, help="Database and models of the demo (default: a new one under var/).")
    parser.add_argument("--output", type=Path, default=ROOT / "var" / "demo-report", help="Where the report goes.")
    return parser.parse_args(words)


def play_round(number: int, pairs: int, owner: Person, people: list[Person], options: argparse.Namespace) -> float:
    """Judge, train, wait until the new version serves. Returns the minutes it took."""
    began = time.monotonic()
    print(f"\nRound {number}: judging {pairs} pairs …", flush=True)
    choices = judge_until(people, TASTES[options.taste], pairs)
    print(f"  {sum(choices.values())} judgements in {time.monotonic() - began:.0f} s: {choices}", flush=True)
    follow(owner, owner.start_training(options.preset))
    return (time.monotonic() - began) / 60


def follow(owner: Person, number: int) -> None:
    """Watches a run until it is over. Raises RuntimeError when it did not finish well."""
    bar, line = None, 0
    while True:
        run = owner.read_api(f"runs/{number}/")
        for event in owner.read_api(f"runs/{number}/events/?after={line}"):
            line = event["line"]
            if event["kind"] == "step":
                bar = bar or tqdm(total=event["data"]["steps"], desc="  training", unit="step")
                bar.set_postfix(loss=f"{event['data']['loss']:.3f}", accuracy=f"{event['data']['accuracy']:.2f}", refresh=False)
                bar.update(event["step"] - bar.n)
        if run["finished_at"]:
            break
        time.sleep(2)
    if bar:
        bar.close()
    if run["state"] != "done":
        raise RuntimeError(f"Run {number} ended as {run['state']}: {run['error']}")


def measure(product: Product, taste: str, minutes: list[float]) -> list[Row]:
    """In a process of its own, since this one must not know the database."""
    print("\nMeasuring on held-out prompts …", flush=True)
    run = subprocess.run(
        [sys.executable, "-m", "bench.demo.measure", PROJECT, taste],
        cwd=ROOT, env=product.environment, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    rows = json.loads(run.stdout)
    return [Row(**row, minutes=spent) for row, spent in zip(rows, [0.0, *minutes], strict=True)]


def verdict(rows: list[Row]) -> int:
    """0 when the loop did what it is for: see the demo's targets in docs/experiments.md."""
    base, last = rows[0], rows[-1]
    faults = []
    if last.win_rate < 0.75:
        faults.append(f"the last version wins {last.win_rate:.0%}, less than 75 %")
    if last.win_low <= 0.5:
        faults.append("its interval reaches 50 %")
    if last.ended < base.ended:
        faults.append(f"fewer answers end by themselves ({last.ended:.0%} after {base.ended:.0%})")
    print("\n" + ("Something in the loop is wrong: " + "; ".join(faults) if faults else "The loop works."))
    return 1 if faults else 0


if __name__ == "__main__":
    main()
