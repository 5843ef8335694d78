"""The compare page in a real Chromium: what a first visit brings over the line, and how long the next pair takes to appear.

    python -m bench.compare_page [--pairs 40]

A pair has appeared when the frame that shows it has been drawn; the clock starts with the key. It is set beside what the server
takes to answer the same judgement, in the same page: that is what an annotator would wait for if nothing were fetched ahead.
Once more with the processor slowed down to a quarter, as on a cheap laptop. The aims: 150 kB, 50 ms.
"""

import argparse
import statistics
import time
from urllib.parse import urlsplit

from playwright.sync_api import CDPSession, Page, sync_playwright

from bench.annotators import prepare, web_server
from bench.environment import fresh_django

SETTLED_MS = 350  # a pair that has just come takes no key for a quarter of a second
SLOWED = 4
WATCH = """
window.appeared = [];
addEventListener("keydown", (event) => { window.pressed = event.timeStamp; }, true);
document.addEventListener("pairshown", () => requestAnimationFrame(() => {
  const drawn = new MessageChannel();  // its message comes after the frame
  drawn.port1.onmessage = () => window.appeared.push(performance.now() - window.pressed);
  drawn.port2.postMessage(null);
}));
"""
ANSWERED = """() => performance.getEntriesByType("resource").filter((each) => each.name.endsWith("/compare/judge/"))
  .map((each) => each.responseEnd - each.requestStart)"""


def main(pairs: int) -> None:
    with fresh_django():
        from tests.browser.conftest import ARGUMENTS, find_chromium

        [session] = prepare(1, 3 * pairs + 20, 1)
        with web_server() as (port, _server), sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=find_chromium(), args=ARGUMENTS)
            context = browser.new_context(base_url=f"http://127.0.0.1:{port}", viewport={"width": 1440, "height": 900})
            context.add_cookies([{"name": "sessionid", "value": session, "domain": "127.0.0.1", "path": "/"}])
            page = context.new_page()
            told = context.new_cdp_session(page)
            visit(page, told)
            for slowed in (1, SLOWED):
                told.send("Emulation.setCPUThrottlingRate", {"rate": slowed})
                appeared, answered = judge(page, pairs)
                own, served = statistics.median(appeared), statistics.median(answered)
                print(f"next pair, processor slowed down {slowed} times, {len(appeared)} pairs: {own:.1f} ms (median), at most")
                print(
                    f"  {max(appeared):.1f} ms; the server's answer {served:.1f} ms, {served / own:.1f} times as long", flush=True
                )
            browser.close()


def visit(page: Page, told: CDPSession) -> None:
    """Of a browser that has nothing yet."""
    addresses, received = [], []
    told.send("Network.enable")
    told.on("Network.requestWillBeSent", lambda event: addresses.append(event["request"]["url"]))
    told.on("Network.loadingFinished", lambda event: received.append(event["encodedDataLength"]))
    began = time.perf_counter()
    page.goto("/projects/load/compare/")
    page.locator("#answer-a").wait_for()
    visible = time.perf_counter() - began
    page.wait_for_load_state("networkidle")
    hosts = {urlsplit(address).hostname for address in addresses if address.startswith("http")}
    print(
        f"first visit: {sum(received) / 1000:.0f} kB over the line, headers included, in {len(received)} requests to "
        f"{', '.join(sorted(hosts))}; the pair is there after {1000 * visible:.0f} ms"
    )


def judge(page: Page, pairs: int) -> tuple[list[float], list[float]]:
    """Milliseconds from key to drawn frame, and from request to answer."""
    page.goto("/projects/load/compare/")
    page.evaluate(WATCH)
    page.evaluate("performance.setResourceTimingBufferSize(5000)")
    for number in range(pairs):
        page.wait_for_load_state("networkidle")
        page.wait_for_timeout(SETTLED_MS)
        page.keyboard.press("12"[number % 2])
        while page.evaluate("window.appeared.length") <= number:  # the page forbids what wait_for_function needs
            page.wait_for_timeout(10)
    return page.evaluate("window.appeared"), page.evaluate(ANSWERED)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m bench.compare_page", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=40)
    main(**vars(parser.parse_args()))
