"""Call the stand-in's classes directly, as a program without the bridge does."""

from collections.abc import Mapping
from ctypes import c_int64, c_uint8, c_uint32, c_void_p, pointer
from pathlib import Path
from typing import Any

from support.standin import Standin

_QOS = c_uint32(21)


class FrameworkModel:
    """A model from memory, whose folder is filled as every published client fills it."""

    def __init__(self, standin: Standin, text: str, weights: Mapping[str, bytes]) -> None:
        self._standin = standin
        self._options = c_void_p(standin.to_object({}))
        entries = {path: {"offset": 0, "data": data} for path, data in weights.items()}
        text_object, weights_object = map(standin.to_object, (text.encode(), entries))
        with standin.pool():
            self.descriptor = standin.send(
                "_ANEInMemoryModelDescriptor",
                "modelWithMILText:weights:optionsPlist:",
                c_void_p(text_object),
                c_void_p(weights_object),
                c_void_p(None),
            )
            model = standin.send(
                "_ANEInMemoryModel", "inMemoryModelWithDescriptor:", c_void_p(self.descriptor)
            )
            self.model = standin.send(model, "retain")
        self.folder = Path(self.text("localModelPath"))
        for name, data in {"model.mil": text.encode(), **weights}.items():
            file = self.folder / name.removeprefix("@model_path/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)

    def text(self, selector: str) -> str:
        """Return a property that is a text."""
        with self._standin.pool():
            return str(self._standin.to_value(self._standin.send(self.model, selector)))

    def get(self, selector: str, returns: Any) -> Any:
        """Return a property that is a number."""
        with self._standin.pool():
            return self._standin.send(self.model, selector, returns=returns)

    def call(self, selector: str, *arguments: Any) -> tuple[str, int, str] | None:
        """Call a method that may fail; return its error's domain, code and text."""
        return call(self._standin, self.model, selector, *arguments)

    def compile(self) -> tuple[str, int, str] | None:
        return self.call("compileWithQoS:options:error:", _QOS, self._options)

    def load(self) -> tuple[str, int, str] | None:
        return self.call("loadWithQoS:options:error:", _QOS, self._options)

    def unload(self) -> tuple[str, int, str] | None:
        return self.call("unloadWithQoS:error:", _QOS)

    def release(self) -> None:
        with self._standin.pool():
            self._standin.send(self.model, "release", returns=None)


def call(standin: Standin, receiver: int, selector: str, *arguments: Any) -> tuple[str, int, str] | None:
    """Send a message whose last argument is an NSError**; return its domain, code and text, or None."""
    error = c_void_p()
    with standin.pool():
        if standin.send(receiver, selector, *arguments, pointer(error), returns=c_uint8):
            return None
        domain, text = (
            standin.to_value(standin.send(error.value, name)) for name in ("domain", "localizedDescription")
        )
        return domain, standin.send(error.value, "code", returns=c_int64), text
