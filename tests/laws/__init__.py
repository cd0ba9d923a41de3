"""Properties that every explainer obeys, found by its signature and not listed."""
