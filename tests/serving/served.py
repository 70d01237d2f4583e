"""One small model behind either form of the service: alone, or on a shelf of many."""

import json
from dataclasses import dataclass
from pathlib import Path

from trainer.localization.bundle import LoadedModel, load_bundle
from trainer.serving.exchange import Reply, Request
from trainer.serving.models.multi_model import Shelf
from trainer.serving.models.service import Service, SingleModel, answer

NAME = "hall"
LIMIT = 64 * 2**20


@dataclass(frozen=True)
class Served:
    """A service, the path where it predicts, and the model that does."""

    service: Service
    path: str
    model: LoadedModel

    def ask(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> Reply:
        """One request, without HTTP."""
        return answer(self.service, Request(method, path, headers or {}, body))


def alone(bundle: Path) -> Served:
    """The container of one model."""
    return Served(SingleModel.open(bundle), "/invocations", load_bundle(bundle))


def on_a_shelf(bundle: Path) -> Served:
    """The container of many models, with one in it."""
    served = Served(Shelf.empty(LIMIT, 1), f"/models/{NAME}/invoke", load_bundle(bundle))
    body = json.dumps({"model_name": NAME, "url": str(bundle)}).encode()
    assert served.ask("POST", "/models", body).status == 200
    return served
