"""Double precision, where a case asks for more digits than float32 has."""

from tests.attribution.conftest import x64 as x64
