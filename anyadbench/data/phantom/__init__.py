"""The embedded phantom: synthetic multi-sequence brain MRI with lesions, generated on the user's machine.

A generated tree has the layout of BraTS 2018 and is read by the same code as real data.
"""

from __future__ import annotations

from anyadbench.data.phantom.spec import PhantomSpec, digest, missing_sequence, subject_id
from anyadbench.data.phantom.subject import synthesise
from anyadbench.data.phantom.write import generate

__all__ = ["PhantomSpec", "digest", "generate", "missing_sequence", "subject_id", "synthesise"]
