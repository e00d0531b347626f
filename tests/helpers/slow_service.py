"""A process as FiftyOne runs it, with a slow model whose answers are known.

``slow_service.py PLUGINS DATASET`` executes the operations that are queued for a dataset;
``slow_service.py PLUGINS --port PORT`` is the App's server.
"""

import sys
import time

import fiftyone as fo
from fake_models import ANSWERS, BoxTracker, ScriptedReasoner

import fiftyone_revseg as revseg
from fiftyone_revseg.app import held_models as models
from fiftyone_revseg.pipeline import RevSeg


class SlowTracker(BoxTracker):
    def track(self, frames, boxes):
        for found in super().track(frames, boxes):
            time.sleep(0.03)
            yield found


model = revseg.load_model(RevSeg(ScriptedReasoner(ANSWERS), SlowTracker()))
models.get_model = lambda loading: model
models.get_tracker = lambda loading: model.pipeline.tracker
plugins_dir, *what = sys.argv[1:]
fo.config.plugins_dir = plugins_dir
if what[0] == "--port":
    from fiftyone.server.main import start_server

    start_server(port=int(what[1]), address="127.0.0.1")
else:
    from fiftyone.operators.delegated import DelegatedOperationService

    DelegatedOperationService().execute_queued_operations(dataset_name=what[0])
