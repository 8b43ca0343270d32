"""What the headers of a DICOM series say about its values and its geometry."""
