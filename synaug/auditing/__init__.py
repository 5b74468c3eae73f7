"""Will these synthetic images help a classifier that is trained on these real ones? An audit of one's own images.

`audit` compares a folder of synthetic images with a folder of real ones and says what to do with them; `check` plants
known defects into real images and shows that the audit finds them. ``python -m synaug audit real/ synthetic/`` is both
as a command.
"""

from synaug.auditing.planted import check
from synaug.auditing.report import THRESHOLDS, Audit, audit, augmentation_quality

__all__ = ["THRESHOLDS", "Audit", "audit", "augmentation_quality", "check"]
