"""The script Streamlit runs for every viewer."""

from dashboards.frame import draw

draw()
