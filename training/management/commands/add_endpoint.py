"""`manage.py add_endpoint URL MODEL --project SLUG`: a model server becomes an endpoint, and with --serve a version."""

import getpass
from decimal import Decimal
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from training.endpoints.errors import EndpointError
from training.endpoints.probe import probe_endpoint
from training.endpoints.registering import EndpointRefused, create_endpoint, serve_endpoint
from training.management.arguments import find_project


class Command(BaseCommand):
    help = "Add a model server that speaks OpenAI's API (vLLM, llama.cpp, TGI, Ollama, a hosted one) to a project."

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("url", help="Its base URL, up to /v1: http://127.0.0.1:8000/v1.")
        parser.add_argument("model", help="The model's name, as the server calls it.")
        parser.add_argument("--project", required=True, metavar="SLUG")
        parser.add_argument("--name", default="", help="How people see it; the model's name if not given.")
        key = parser.add_mutually_exclusive_group()
        key.add_argument("--key-variable", default="", metavar="NAME", help="The environment variable that holds its key.")
        key.add_argument("--ask-key", action="store_true", help="Ask for the key here; it is stored encrypted.")
        parser.add_argument("--requests-per-minute", type=int, metavar="N")
        parser.add_argument("--concurrency", type=int, default=4, metavar="N", help="Requests at once (default: %(default)s).")
        parser.add_argument("--timeout", type=int, default=60, metavar="SECONDS", help="Longest silence (default: %(default)s).")
        parser.add_argument("--price-in", type=Decimal, default=Decimal(0), metavar="DOLLARS", help="For a million tokens read.")
        parser.add_argument("--price-out", type=Decimal, default=Decimal(0), metavar="DOLLARS", help="For a million written.")
        parser.add_argument("--adapters", action="store_true", help="It is a vLLM into which LoRA adapters may be loaded.")
        parser.add_argument("--no-test", action="store_true", help="Do not ask it anything now.")
        parser.add_argument("--serve", action="store_true", help="It generates from now on.")

    def handle(self, *, url: str, model: str, project: str, name: str, serve: bool, **options: Any) -> None:
        found = find_project(project)
        key = getpass.getpass("Key: ") if options["ask_key"] else ""
        try:
            endpoint = create_endpoint(
                project=found, name=name or model, base_url=url, model=model, key=key, key_variable=options["key_variable"],
                requests_per_minute=options["requests_per_minute"], concurrency=options["concurrency"],
                timeout_seconds=options["timeout"], price_in=options["price_in"], price_out=options["price_out"],
                loads_adapters=options["adapters"],
            )  # fmt: skip
        except EndpointRefused as refused:
            raise CommandError(" ".join(f"{field}: {' '.join(told)}" for field, told in refused.fields.items())) from refused
        self.stdout.write(f"{endpoint} is an endpoint of {found.slug}.")
        if not options["no_test"]:
            self._test(endpoint)
        if serve:
            version = serve_endpoint(endpoint=endpoint)
            self.stdout.write(f"It is {version}, and serves.")

    def _test(self, endpoint: Any) -> None:
        try:
            features = probe_endpoint(endpoint).features
        except EndpointError as error:
            raise CommandError(f"It is stored, but its test failed. {error}") from error
        offers = ", ".join(f"{name}: {'yes' if features[name] else 'no'}" for name in ("logprobs", "n", "seed", "samples"))
        self.stdout.write(f"It answers in {features['seconds']:g} s; {offers}.")
        if not features["samples"]:
            self.stderr.write("It gives the same answer each time, so it gives no pairs to compare: see docs/model-servers.md.")
