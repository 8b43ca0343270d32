"""A descriptor whose module does work at import."""

from __future__ import annotations

import time

from anyadbench.methods.descriptor import MethodDescriptor

end = time.process_time() + 0.2
while time.process_time() < end:
    pass
DESCRIPTOR = MethodDescriptor(name="slow", title="Slow", summary="Broken.", factory="broken_methods:DoesNotFit")
