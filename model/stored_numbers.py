"""Numbers in a stored configuration, and what they may be.

A damaged or forged file must not make us build something enormous.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

Count = Annotated[int, Field(ge=0, le=256)]
Width = Annotated[int, Field(ge=0, le=16_384)]
Radius = Annotated[float, Field(ge=0, le=256)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
