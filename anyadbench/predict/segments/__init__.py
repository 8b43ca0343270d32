"""Masks as DICOM segmentations, for viewers and archives that read no NIfTI."""
