"""The callable teacher: a function of a person's own Python code.

    # edits.py
    def film(photo: PIL.Image.Image, concept: zoo.concepts.Concept) -> PIL.Image.Image: ...

    CallableTeacher("edits:film", "/home/anna/work").edit(concept, photos)

The module is looked for in `folder` first, then where Python looks. Its own file is frozen by its hash; what it
imports is not. The pictures are stored, so that a function that gives others next time does no harm.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pipeline.executors.attempts import first_line, is_machines_fault
from pipeline.teachers.own_code import check_own, to_image, to_tensor
from zoo.concepts import Concept
from zoo.errors import WeightzooError


@dataclass(eq=False)
class CallableTeacher:
    """Edits photographs by calling a function `(photo, concept) -> photo`.

    Args:
        function: `package.module:function`.
        folder: where the build was started, see :mod:`pipeline.teachers.own_code`.
    """

    function: str = ""
    folder: str = ""

    name = "callable"
    licence = "the function's own"
    expensive = True

    def prepare(self, device: str) -> None:
        """Import the function. Raises WeightzooError: there is no such module or function, or it is not one's own."""
        self._load()

    def refusal(self, concept: Concept) -> str | None:
        """Return why nothing can be edited: there is no function."""
        return None if self.function else "no function is given; write package.module:function"

    def files(self, concept: Concept) -> dict[str, Path]:
        """Return the file of the function's module, by its name.

        Raises:
            WeightzooError: as :meth:`prepare`.
        """
        self._load()
        path = getattr(sys.modules[self.function.partition(":")[0]], "__file__", None)
        return {Path(path).name: Path(path)} if path else {}

    @torch.no_grad()
    def edit(self, concept: Concept, photos: Tensor) -> Tensor:
        """Return what the function makes of photos [N, 3, H, W] in [0, 1], of the same shape and range.

        Raises:
            WeightzooError: the function raised, or gave no picture of the photograph's size.
        """
        function = self._load()
        return torch.stack([self._edit(function, concept, photo) for photo in photos])

    def _edit(self, function: Callable[..., Any], concept: Concept, photo: Tensor) -> Tensor:
        try:
            result = function(to_image(photo), concept)
        except Exception as error:
            if is_machines_fault(error):
                raise
            raise WeightzooError(f"{self.function} raised {type(error).__name__}: {first_line(error)}") from error
        try:
            image = result if isinstance(result, Image.Image) else Image.fromarray(_bytes(np.asarray(result)))
        except (TypeError, ValueError, AttributeError) as error:
            raise WeightzooError(
                f"{self.function} gave {type(result).__name__}, which is no picture ({first_line(error)}); "
                "return a PIL image, or an array [H, W, 3] of 0 to 255 or of 0.0 to 1.0"
            ) from None
        return to_tensor(image.convert("RGB"), photo, self.function)

    def _load(self) -> Callable[..., Any]:
        check_own(self.name, self.folder)
        module, _, name = self.function.partition(":")
        if not module or not name:
            raise WeightzooError(f"{self.function!r} is no function; write package.module:function")
        if self.folder not in sys.path:
            sys.path.insert(0, self.folder)
        try:
            found = getattr(importlib.import_module(module), name)
        except AttributeError:
            raise WeightzooError(f"the module {module} has no function {name!r}; check its name") from None
        except Exception as error:
            if is_machines_fault(error):
                raise
            raise WeightzooError(
                f"cannot import {module} ({type(error).__name__}: {first_line(error)}); it is looked for in "
                f"{self.folder} and where Python looks"
            ) from error
        if not callable(found):
            raise WeightzooError(f"{self.function} is {type(found).__name__}, not a function; name a function")
        return found


def _bytes(values: np.ndarray) -> np.ndarray:
    """Return an array of numbers of 0 to 255, or of floats of 0.0 to 1.0, as uint8."""
    if values.dtype == np.uint8:
        return values
    if not np.issubdtype(values.dtype, np.floating) or not np.isfinite(values).all():
        raise ValueError(f"{values.dtype} numbers that are not finite floats or bytes")
    if values.min() < -0.5 or values.max() > 1.5:
        raise ValueError(f"floats of {values.min():g} to {values.max():g}")
    return np.rint(values.clip(0, 1) * 255).astype(np.uint8)
