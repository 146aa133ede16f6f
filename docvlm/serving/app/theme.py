"""How the page looks: the colours of the report, in light and in dark.

Fonts are the system's, so that none is fetched.
"""

from __future__ import annotations

from pathlib import Path

import gradio as gr

STYLE = Path(__file__).parent / "templates" / "page.css"
SANS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "DejaVu Sans", "sans-serif")
MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "DejaVu Sans Mono", "monospace")

COLOURS = {
    "body_background_fill": ("#ffffff", "#10151b"),
    "body_text_color": ("#1f2933", "#e7ecf1"),
    "body_text_color_subdued": ("#52606d", "#a9b6c3"),
    "background_fill_primary": ("#ffffff", "#10151b"),
    "background_fill_secondary": ("#f6f8fa", "#18202a"),
    "block_background_fill": ("#f6f8fa", "#18202a"),
    "block_label_background_fill": ("#f6f8fa", "#18202a"),
    "block_label_text_color": ("#52606d", "#a9b6c3"),
    "block_title_text_color": ("#1f2933", "#e7ecf1"),
    "border_color_primary": ("#dde3ea", "#2b3642"),
    "input_background_fill": ("#ffffff", "#10151b"),
    "input_border_color": ("#8592a0", "#5d6b7a"),
    "input_placeholder_color": ("#52606d", "#a9b6c3"),
    "button_primary_background_fill": ("#0a5a9c", "#7cc0f5"),
    "button_primary_background_fill_hover": ("#084a80", "#a3d3f8"),
    "button_primary_text_color": ("#ffffff", "#10151b"),
    "button_secondary_background_fill": ("#e6f0f9", "#14304a"),
    "button_secondary_background_fill_hover": ("#d3e5f5", "#1b3f60"),
    "button_secondary_text_color": ("#0a4a80", "#a3d3f8"),
}
"""Gradio's variables, in light and in dark."""


def theme() -> gr.themes.Base:
    """The page's theme for Gradio."""
    base = gr.themes.Base(primary_hue="blue", neutral_hue="slate", radius_size="md", font=SANS, font_mono=MONO)
    light = {name: colour for name, (colour, _) in COLOURS.items()}
    return base.set(
        **light, **{f"{name}_dark": colour for name, (_, colour) in COLOURS.items()}, input_border_width="1px"
    )
