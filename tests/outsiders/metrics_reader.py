"""Reads metrics with Prometheus's own client library, as `openmetrics` or `text`; writes one JSON object per family."""

import json
import sys

from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client import parser as text

reader = openmetrics if sys.argv[1] == "openmetrics" else text

for family in reader.text_string_to_metric_families(sys.stdin.read()):
    print(json.dumps({
        "name": family.name,
        "type": family.type,
        "help": family.documentation,
        "samples": [
            {
                "name": sample.name,
                "labels": sample.labels,
                "value": str(sample.value),
                "exemplar": sample.exemplar.labels if sample.exemplar else None,
            }
            for sample in family.samples
        ],
    }))
