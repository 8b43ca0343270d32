"""Models that cannot learn from normal images alone; they are listed with the reason."""

from __future__ import annotations

from anyadbench_anomalib.catalogue.entry import Model

OTHER = (
    Model(
        name="vlm_ad",
        cls="VlmAd",
        title="VLM-AD",
        summary="Asks a large vision-language model whether an image is normal.",
        citation="A model of anomalib; not published separately.",
        cannot="it asks a vision-language model (Ollama, OpenAI or a Hugging Face model), learns nothing from the "
        "training normals, and answers yes or no",
    ),
    Model(
        name="anomalyvfm",
        cls="AnomalyVFM",
        title="AnomalyVFM",
        summary="A vision foundation model adapted to find anomalies in any image.",
        citation='"AnomalyVFM: Transforming Vision Foundation Models into Zero-Shot Anomaly Detectors", CVPR 2026, '
        "arXiv 2601.20524.",
        cannot="its weights were trained on anomalies and must be downloaded, and it learns nothing from the training "
        "normals",
    ),
    Model(
        name="cfm",
        cls="CFM",
        title="CFM",
        summary="Maps features of an image to features of its point cloud and back.",
        citation='Costanzino et al., "Multimodal Industrial Anomaly Detection by Crossmodal Feature Mapping", CVPR '
        "2024, arXiv 2312.04521.",
        cannot="it needs a point cloud for every image, which slices do not have",
    ),
)
