"""One small model behind either form of the service: of one model, or of many."""

import json
from dataclasses import dataclass
from pathlib import Path

from trainer.localization.bundle.loaded_model import LoadedModel
from trainer.localization.bundle.reading import load_bundle
from trainer.serving.exchange import HttpRequest, HttpResponse
from trainer.serving.models.multi_model import MultiModelService
from trainer.serving.models.service import PredictionService, SingleModelService, respond

NAME = "hall"
LIMIT = 64 * 2**20


@dataclass(frozen=True)
class Served:
    """A service, the path where it predicts, and the model that does."""

    service: PredictionService
    path: str
    model: LoadedModel

    def ask(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> HttpResponse:
        """One request, without HTTP."""
        return respond(self.service, HttpRequest(method, path, headers or {}, body))


def single_model_service(bundle: Path) -> Served:
    """The container of one model."""
    return Served(SingleModelService.open(bundle), "/invocations", load_bundle(bundle))


def multi_model_service(bundle: Path) -> Served:
    """The container of many models, with one in it."""
    served = Served(
        MultiModelService.empty(LIMIT, 1), f"/models/{NAME}/invoke", load_bundle(bundle)
    )
    body = json.dumps({"model_name": NAME, "url": str(bundle)}).encode()
    assert served.ask("POST", "/models", body).status == 200
    return served
